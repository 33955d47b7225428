# mypy: disable-error-code="import-not-found, misc"
"""Nova's own fake hypervisor, made restartable, with snapshots that upload and interfaces that OVN sees.

It becomes ``nova.virt.lab``: ``compute_driver`` is always resolved below ``nova.virt``.
"""

import inspect
import io
import json
import os
import subprocess
import threading
from collections.abc import Callable
from typing import Any

import nova.conf
from nova.compute import power_state, task_states
from nova.console import type as console
from nova.image import glance
from nova.virt import fake, lab_screen

CONF = nova.conf.CONF
_saving = threading.Lock()


class LabDriver(fake.FakeDriverWithoutFakeNodes):
    """Instances are entries in a dictionary that is written to a file at each change."""

    capabilities = fake.FakeDriver.capabilities | {"supports_migrate_to_same_host": True}

    def init_host(self, host: str) -> None:
        """Remember the instances of the last run."""
        super().init_host(host)
        if os.path.exists(self._file()):
            with open(self._file()) as file:
                for uuid, (name, state) in json.load(file).items():
                    self.instances[uuid] = fake.FakeInstance(name, state, uuid)

    @staticmethod
    def _file() -> str:
        return os.path.join(CONF.state_path, "instances.json")

    def _save(self) -> None:
        with _saving:
            draft = self._file() + ".part"
            with open(draft, "w") as file:
                json.dump({uuid: (found.name, found.state) for uuid, found in list(self.instances.items())}, file)
            os.replace(draft, self._file())

    def spawn(
        self,
        context: Any,
        instance: Any,
        image_meta: Any,
        injected_files: Any,
        admin_password: Any,
        allocations: Any,
        network_info: Any = None,
        **kwargs: Any,
    ) -> None:
        """Start an instance and plug its interfaces."""
        known = (image_meta, injected_files, admin_password, allocations)
        super().spawn(context, instance, *known, network_info=network_info, **kwargs)
        self.plug_vifs(instance, network_info)
        self._save()

    def destroy(self, context: Any, instance: Any, network_info: Any, *args: Any, **kwargs: Any) -> None:
        """Forget an instance and unplug its interfaces."""
        super().destroy(context, instance, network_info, *args, **kwargs)
        self.unplug_vifs(instance, network_info)
        self._save()

    def snapshot(self, context: Any, instance: Any, image_id: str, update_task_state: Callable[..., None]) -> None:
        """Upload a few bytes as the image: enough for Glance to make it active."""
        update_task_state(task_state=task_states.IMAGE_PENDING_UPLOAD)
        api = glance.API()
        meta = {
            "name": api.get(context, image_id)["name"],
            "disk_format": "raw",
            "container_format": "bare",
            "properties": {
                "image_location": "snapshot",
                "image_state": "available",
                "owner_id": instance.project_id,
            },
        }
        update_task_state(task_state=task_states.IMAGE_UPLOADING, expected_state=task_states.IMAGE_PENDING_UPLOAD)
        bits = io.BytesIO(f"snapshot of {instance.uuid}\n".encode())
        api.update(context, image_id, meta, bits, purge_props=False)

    def rescue(self, context: Any, instance: Any, *args: Any, **kwargs: Any) -> None:
        """A rescued instance runs."""
        self.instances[instance.uuid].state = power_state.RUNNING

    def get_vnc_console(self, context: Any, instance: Any) -> Any:
        """The instance's screen."""
        return console.ConsoleVNC(host="127.0.0.1", port=lab_screen.port("vnc", instance.uuid))

    def get_serial_console(self, context: Any, instance: Any) -> Any:
        """The instance's serial line."""
        return console.ConsoleSerial(host="127.0.0.1", port=lab_screen.port("serial", instance.uuid))

    def get_spice_console(self, context: Any, instance: Any) -> Any:
        """A SPICE port that says nothing of SPICE: page and tunnel are real, the picture is not."""
        return console.ConsoleSpice(host="127.0.0.1", port=lab_screen.port("serial", instance.uuid), tlsPort=None)

    def post_live_migration_at_source(self, context: Any, instance: Any, network_info: Any) -> None:
        """The instance and its interfaces are elsewhere now."""
        self.instances.pop(instance.uuid, None)
        self.unplug_vifs(instance, network_info)
        self._save()

    def attach_interface(self, context: Any, instance: Any, image_meta: Any, vif: Any) -> None:
        """Plug one more interface."""
        super().attach_interface(context, instance, image_meta, vif)
        self.plug_vifs(instance, [vif])

    def detach_interface(self, context: Any, instance: Any, vif: Any) -> None:
        """Unplug an interface, also one plugged before a restart."""
        self._interfaces.pop(vif["id"], None)
        self.unplug_vifs(instance, [vif])

    def plug_vifs(self, instance: Any, network_info: Any) -> None:
        """Say in the chassis' database that the interface is there.

        ovn-controller then claims the port and Neutron reports it ACTIVE, exactly as on a real host.
        """
        # A tap in the chassis' namespace that whoever plays the guest may move into its own; or nothing but a row.
        kind = [f"type={os.environ.get('LAB_VIF', 'dummy')}"]
        for vif in network_info or ():
            name = _interface(vif)
            facts = {
                "iface-id": vif["id"],
                "attached-mac": vif["address"],
                "vm-uuid": instance.uuid,
                "iface-status": "active",
            }
            pairs = [f'external_ids:{key}="{value}"' for key, value in facts.items()]
            _vsctl("--may-exist", "add-port", "br-int", name, "--", "set", "Interface", name, *kind, *pairs)

    def unplug_vifs(self, instance: Any, network_info: Any) -> None:
        """Take the interface away again."""
        for vif in network_info or ():
            _vsctl("--if-exists", "del-port", "br-int", _interface(vif))


def _interface(vif: Any) -> str:
    return f"tap{vif['id'][:11]}"


def _vsctl(*words: str) -> None:
    if database := os.environ.get("LAB_OVSDB"):
        subprocess.run(["ovs-vsctl", f"--db={database}", "--no-wait", *words], check=False, capture_output=True)


def _keep(name: str, then: str | None) -> None:
    """Write the file after a call of the parent that changes an instance, and plug or unplug what it names."""
    parent = getattr(fake.FakeDriver, name, None)
    if parent is None:
        return
    signature = inspect.signature(parent)

    def call(self: LabDriver, *args: Any, **kwargs: Any) -> Any:
        result = parent(self, *args, **kwargs)
        if then:
            given = signature.bind(self, *args, **kwargs).arguments
            getattr(self, f"{then}_vifs")(given["instance"], given["network_info"])
        self._save()
        return result

    call.__name__ = name
    setattr(LabDriver, name, call)


for _name, _then in {
    "power_on": None,
    "power_off": None,
    "pause": None,
    "unpause": None,
    "suspend": None,
    "resume": None,
    "migrate_disk_and_power_off": "unplug",
    "finish_migration": "plug",
    "finish_revert_migration": "plug",
    "confirm_migration": None,
    "pre_live_migration": "plug",
    "post_live_migration_at_destination": "plug",
    "rollback_live_migration_at_destination": "unplug",
    "unrescue": None,
    "reboot": None,
    "cleanup": None,
}.items():
    _keep(_name, _then)
