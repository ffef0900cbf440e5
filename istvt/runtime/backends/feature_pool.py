"""Device memory for the features of single faces: slots of one size, used again and again.

Everything happens on one stream, so a slot that was let go may be filled at once: what still reads
it was queued before.
"""

from istvt.runtime.backends.device import Device

SLOTS_OF_A_SLAB = 64


class FaceFeatures:
    """The features of one face on the device; the slot is free again when this is."""

    def __init__(self, pool: "FeaturePool", address: int) -> None:
        self._pool, self.address = pool, address

    def __del__(self) -> None:
        self._pool.give_back(self.address)


class FeaturePool:
    """Grows by slabs and never shrinks: memory is flat once all cameras are busy."""

    def __init__(self, device: Device, slot_bytes: int) -> None:
        self._device = device
        self._slot_bytes = slot_bytes
        self._free: list[int] = []
        self._slabs: list[int] = []

    def take(self) -> FaceFeatures:
        """Give a slot of any content.

        Raises:
            DeviceMemoryError: no slab can be had.
        """
        if not self._free:
            slab = self._device.allocate(SLOTS_OF_A_SLAB * self._slot_bytes)
            self._slabs.append(slab)
            self._free.extend(slab + i * self._slot_bytes for i in range(SLOTS_OF_A_SLAB))
        return FaceFeatures(self, self._free.pop())

    def give_back(self, address: int) -> None:
        """Take a slot back; from any thread."""
        self._free.append(address)

    def close(self) -> None:
        """Free the slabs; handles that are left are dead."""
        for slab in self._slabs:
            self._device.free(slab)
        self._slabs.clear()
