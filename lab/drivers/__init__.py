"""Drivers for real Nova and real Cinder that need no hypervisor and no storage.

``lab.install`` copies them into a release's virtual environment, below the packages where Nova and Cinder look for
drivers. They are not imported from here.
"""
