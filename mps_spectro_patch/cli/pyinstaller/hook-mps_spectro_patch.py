"""What PyInstaller cannot see: modules that are imported by name when they are first used, and the kernels' text."""

from PyInstaller.utils.hooks import collect_data_files, collect_submodules

PARTS = ("mps_spectro_patch", *(f"mps_spectro_patch.{part}" for part in ("kernels", "compat", "examples")))
hiddenimports = [name for part in PARTS for name in collect_submodules(part) if ".pyinstaller" not in name]
datas = [pair for part in PARTS for pair in collect_data_files(part)]
