"""``--live``: the screen that the dashboards of all kinds of measurement draw on."""
