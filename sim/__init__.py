"""A small fake OpenStack: a hub and any number of sites in one process, for what the lab cannot hold.

It answers as the real services do for everything a cascade asks of them. It imports nothing of the gateway, so
that a mistake made there is not made here again.
"""
