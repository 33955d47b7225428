"""``openstack cascade ...``: the operator's commands for python-openstackclient. Speaks REST, imports nothing of Cascade."""
