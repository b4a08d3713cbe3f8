"""Where the kernel sources are looked for."""

import pytest

from engine.ops import kernel_folder as module
from engine.ops.crop_table import CROP, IMAGE
from engine.runtime.errors import RuntimeSetupError


def test_found_in_a_checkout_and_in_an_installed_package(tmp_path, monkeypatch):
    assert (module.kernel_folder() / "luss" / "crop_table.h").is_file()
    monkeypatch.setattr(module, "_ENGINE", tmp_path / "engine")
    with pytest.raises(RuntimeSetupError, match="kernels, .*_kernels: install luss-engine again"):
        module.kernel_folder()
    (tmp_path / "engine" / "_kernels" / "luss").mkdir(parents=True)
    assert module.kernel_folder() == tmp_path / "engine" / "_kernels"


def test_records_have_the_size_that_the_header_asserts():
    text = (module.kernel_folder() / "luss" / "crop_table.h").read_text()
    assert f"sizeof(luss_image) == {IMAGE.itemsize}" in text and f"sizeof(luss_crop) == {CROP.itemsize}" in text
