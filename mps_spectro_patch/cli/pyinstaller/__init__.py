"""For PyInstaller, which finds its hook here by the entry point `pyinstaller40`. Nothing else imports this."""


def hook_dirs() -> list[str]:
    return list(__path__)
