# mypy: disable-error-code="import-not-found, misc, untyped-decorator"
"""Cinder driver on a plain folder: sparse raw files, no root, no help from the kernel.

It becomes ``cinder.volume.drivers.lab``. Data operations are real (image to volume, volume to image, clone, snapshot,
revert, extend); only the attachment is nominal, because the hypervisor is one too.
"""

import os
import shutil
import subprocess
from typing import Any

from cinder import interface
from cinder.image import image_utils
from cinder.volume import configuration, driver, volume_utils
from oslo_config import cfg

OPTIONS = [
    cfg.StrOpt("lab_path", default="$state_path/volumes", help="Folder of the volumes."),
    cfg.IntOpt("lab_capacity_gb", default=10000, help="Capacity to report; files are sparse."),
]
cfg.CONF.register_opts(OPTIONS, group=configuration.SHARED_CONF_GROUP)


@interface.volumedriver
class LabDriver(driver.VolumeDriver):
    """A volume is a file."""

    VERSION = "1.0"
    SUPPORTS_ACTIVE_ACTIVE = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Register our options in the backend's section."""
        super().__init__(*args, **kwargs)
        self.configuration.append_config_values(OPTIONS)

    def _path(self, name: str) -> str:
        return os.path.join(self.configuration.lab_path, name)

    def _copy(self, source: str, target: str, size: int = 0) -> None:
        subprocess.run(["cp", "--sparse=always", "--reflink=auto", source, target], check=True)
        if size:
            os.truncate(target, max(size << 30, os.path.getsize(target)))

    def do_setup(self, context: Any) -> None:
        """Make the folder."""
        os.makedirs(self.configuration.lab_path, exist_ok=True)

    def check_for_setup_error(self) -> None:
        """Nothing can be wrong."""

    def local_path(self, volume: Any) -> str:
        """The file of a volume."""
        return self._path(volume.name)

    def _update_volume_stats(self) -> None:
        folder = self.configuration.lab_path
        used = sum(entry.stat().st_size for entry in os.scandir(folder)) >> 30
        capacity = self.configuration.lab_capacity_gb
        self._stats = {
            "volume_backend_name": self.configuration.safe_get("volume_backend_name") or "lab",
            "vendor_name": "lab",
            "driver_version": self.VERSION,
            "storage_protocol": "file",
            "total_capacity_gb": capacity,
            "free_capacity_gb": capacity - used,
            "provisioned_capacity_gb": used,
            "max_over_subscription_ratio": 20.0,
            "thin_provisioning_support": True,
            "thick_provisioning_support": False,
            "reserved_percentage": 0,
            "QoS_support": False,
            "multiattach": True,
            "online_extend_support": True,
            "sparse_copy_volume": True,
            "consistent_group_snapshot_enabled": True,
            "consistencygroup_support": True,
        }

    def create_volume(self, volume: Any) -> None:
        """Make a sparse file."""
        with open(self.local_path(volume), "wb") as file:
            file.truncate(volume.size << 30)

    def delete_volume(self, volume: Any) -> None:
        """Remove the file."""
        if os.path.exists(self.local_path(volume)):
            os.unlink(self.local_path(volume))

    def create_snapshot(self, snapshot: Any) -> None:
        """Copy the file."""
        self._copy(self._path(snapshot.volume_name), self._path(snapshot.name))

    def delete_snapshot(self, snapshot: Any) -> None:
        """Remove the copy."""
        if os.path.exists(self._path(snapshot.name)):
            os.unlink(self._path(snapshot.name))

    def create_volume_from_snapshot(self, volume: Any, snapshot: Any) -> None:
        """Copy the copy."""
        self._copy(self._path(snapshot.name), self.local_path(volume), volume.size)

    def create_cloned_volume(self, volume: Any, src_vref: Any) -> None:
        """Copy another volume."""
        self._copy(self._path(src_vref.name), self.local_path(volume), volume.size)

    def revert_to_snapshot(self, context: Any, volume: Any, snapshot: Any) -> None:
        """Copy the copy back."""
        self._copy(self._path(snapshot.name), self.local_path(volume), volume.size)

    def extend_volume(self, volume: Any, new_size: int) -> None:
        """Make the file longer."""
        os.truncate(self.local_path(volume), new_size << 30)

    def copy_image_to_volume(
        self, context: Any, volume: Any, image_service: Any, image_id: str, disable_sparse: bool = False
    ) -> None:
        """Write an image into the volume."""
        target = self.local_path(volume)
        image_utils.fetch_to_raw(context, image_service, image_id, target, "1M", size=volume.size, run_as_root=False)
        os.truncate(target, volume.size << 30)

    def copy_volume_to_image(self, context: Any, volume: Any, image_service: Any, image_meta: Any) -> None:
        """Upload the volume as an image."""
        volume_utils.upload_volume(context, image_service, image_meta, self.local_path(volume), volume, run_as_root=False)

    def ensure_export(self, context: Any, volume: Any) -> None:
        """Nothing is exported."""

    def create_export(self, context: Any, volume: Any, connector: Any) -> None:
        """Nothing is exported."""

    def remove_export(self, context: Any, volume: Any) -> None:
        """Nothing is exported."""

    def initialize_connection(self, volume: Any, connector: Any) -> dict[str, Any]:
        """Tell Nova where the file is; its fake hypervisor does not look."""
        return {"driver_volume_type": "local", "data": {"device_path": self.local_path(volume)}}

    def terminate_connection(self, volume: Any, connector: Any, **kwargs: Any) -> None:
        """Nothing was connected."""

    def update_migrated_volume(self, ctxt: Any, volume: Any, new_volume: Any, original_volume_status: str) -> dict[str, Any]:
        """Let the migrated file take the old one's name."""
        source, target = self._path(new_volume.name), self._path(volume.name)
        if original_volume_status == "available" and os.path.exists(source):
            shutil.move(source, target)
            return {"_name_id": None, "provider_location": None}
        return {"_name_id": new_volume._name_id or new_volume.id, "provider_location": None}
