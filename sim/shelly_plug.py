"""A Shelly Gen2 plug that is not there: its state and its RPC methods, without a network.

Written after the vendor's public documentation of the Gen2+ RPC (Shelly, Sys, Switch,
Notifications); `shelly_server` puts it on the network.

Invariant: time and energy agree.  `unixtime` is simulated time, floored to `quantum_s`, and the
counters are those of that very instant; the load flows only while the plug is on, and a switch
takes effect from the last quantum on.  Simulated seconds by default; a demo that wants exact
intervals sets the quantum to the interval's length.
"""

from collections.abc import Callable
from typing import Any

import trio

from ioe_node.clock import Clock

Load = Callable[[int], tuple[int, int]]
"""Simulated microseconds to (power in milli-W, cumulative milli-Wh) of what is plugged in."""

SECOND_US = 1_000_000
MINUTE_S = 60
VOLTAGE_V = 230.0
MODEL = "SNPL-00112EU"
FIRMWARE = "20241011-114449/1.4.4-g6d2a586"
FIRMWARE_VERSION = "1.4.4"


class RpcError(Exception):
    """An error frame: code and message as the documentation numbers them."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class Plug:
    """The plug's state and its RPC methods; no networking."""

    def __init__(
        self,
        load: Load,
        clock: Clock,
        *,
        mac: str = "A8032AB1C2D3",
        password: str | None = None,
        quantum_s: int = 1,
        on: bool = True,
    ) -> None:
        self.device_id = f"shellyplusplugs-{mac.lower()}"
        self.password = password
        self.notices: list[trio.MemorySendChannel[dict[str, Any]]] = []
        self._load, self._clock, self._mac = load, clock, mac
        self._quantum_s = quantum_s
        self._on = on
        self._source = "init"
        self._booted_s = self._now_s()
        self._switched_s = self._booted_s
        self._counted_milli_wh = 0  # up to _counted_to_s
        self._counted_to_s = self._booted_s
        self._methods: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "Shelly.GetDeviceInfo": lambda params: self.device_info(),
            "Shelly.GetStatus": lambda params: self._status(),
            "Shelly.GetConfig": lambda params: self._config(),
            "Shelly.GetComponents": lambda params: self._components(params),
            "Shelly.ListMethods": lambda params: {"methods": sorted(self._methods)},
            "Sys.GetStatus": lambda params: self._sys_status(),
            "Sys.GetConfig": lambda params: self._sys_config(),
            "Switch.GetStatus": lambda params: self._switch_status(_switch(params)),
            "Switch.GetConfig": lambda params: self._switch_config(_switch(params)),
            "Switch.Set": lambda params: self._set(_switch(params), _flag(params, "on")),
            "Switch.Toggle": lambda params: self._set(_switch(params), not self._on),
        }

    @property
    def on(self) -> bool:
        return self._on

    @property
    def counted_milli_wh(self) -> int:
        """The energy counter, as the plug would report it now."""
        self._count()
        return self._counted_milli_wh

    def call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """One RPC's result, or RpcError."""
        handler = self._methods.get(method)
        if handler is None:
            raise RpcError(404, f"No handler for {method}")
        return handler(params)

    def device_info(self) -> dict[str, Any]:
        return {
            "name": None,
            "id": self.device_id,
            "mac": self._mac,
            "slot": 0,
            "model": MODEL,
            "gen": 2,
            "fw_id": FIRMWARE,
            "ver": FIRMWARE_VERSION,
            "app": "PlusPlugS",
            "auth_en": self.password is not None,
            "auth_domain": None if self.password is None else self.device_id,
        }

    def _now_s(self) -> int:
        seconds = self._clock.now_us() // SECOND_US
        return seconds // self._quantum_s * self._quantum_s

    def _count(self) -> int:
        """Bring the counter up to the quantum that has begun; its time in Unix seconds."""
        now_s = self._now_s()
        if self._on:
            self._counted_milli_wh += self._drawn(self._counted_to_s, now_s)
        self._counted_to_s = now_s
        return now_s

    def _drawn(self, from_s: int, to_s: int) -> int:
        return self._load(to_s * SECOND_US)[1] - self._load(from_s * SECOND_US)[1]

    def press(self) -> None:
        """Somebody presses the button on the plug."""
        self._switch_to(not self._on, "button")

    def tell_counters(self) -> None:
        """What the plug tells every minute: its counters and its power."""
        status = self._switch_status(0)
        names = ("id", "apower", "current", "aenergy")
        self._notify("NotifyStatus", {"switch:0": {name: status[name] for name in names}})

    def tell_all(self) -> None:
        """What the plug tells after it has started."""
        self._notify("NotifyFullStatus", self._status())

    def _set(self, switch_id: int, on: bool) -> dict[str, Any]:
        assert switch_id == 0
        return {"was_on": self._switch_to(on, "HTTP_in")}

    def _switch_to(self, on: bool, source: str) -> bool:
        now_s = self._count()
        was_on, self._on, self._source = self._on, on, source
        if was_on != on:
            self._switched_s = now_s
            power_w = self._power_w(now_s)
            switch = {"id": 0, "output": on, "apower": power_w, "source": source}
            self._notify("NotifyStatus", {"switch:0": switch})
        return was_on

    def _notify(self, method: str, components: dict[str, Any]) -> None:
        params = {"ts": float(self._now_s()), **components}
        notice = {"src": self.device_id, "method": method, "params": params}
        for channel in self.notices:
            try:
                channel.send_nowait(notice)
            except trio.WouldBlock:
                continue  # a listener that does not read misses notices, as on the plug

    def _power_w(self, now_s: int) -> float:
        return round(self._load(now_s * SECOND_US)[0] / 1000, 1) if self._on else 0.0

    def _switch_status(self, switch_id: int) -> dict[str, Any]:
        now_s = self._count()
        power_w = self._power_w(now_s)
        minute_s = now_s // MINUTE_S * MINUTE_S
        # Only whole minutes since the last switch are known apart; the others show as zero.
        minutes = [
            float(self._drawn(end_s - MINUTE_S, end_s))
            if self._on and end_s - MINUTE_S >= self._switched_s
            else 0.0
            for end_s in (minute_s, minute_s - MINUTE_S, minute_s - 2 * MINUTE_S)
        ]
        return {
            "id": switch_id,
            "source": self._source,
            "output": self._on,
            "apower": power_w,
            "voltage": VOLTAGE_V,
            "freq": 50.0,
            "current": round(power_w / VOLTAGE_V, 3),
            "aenergy": {
                "total": self._counted_milli_wh / 1000,
                "by_minute": minutes,
                "minute_ts": minute_s,
            },
            "ret_aenergy": {"total": 0.0, "by_minute": [0.0, 0.0, 0.0], "minute_ts": minute_s},
            "temperature": {"tC": 31.5, "tF": 88.7},
        }

    def _switch_config(self, switch_id: int) -> dict[str, Any]:
        return {
            "id": switch_id,
            "name": None,
            "initial_state": "restore_last",
            "auto_on": False,
            "auto_off": False,
            "power_limit": 2500,
            "voltage_limit": 280,
            "current_limit": 12.0,
            "reverse": False,
        }

    def _sys_status(self) -> dict[str, Any]:
        now_s = self._now_s()
        clock = f"{now_s // 3600 % 24:02}:{now_s // MINUTE_S % 60:02}"
        return {
            "mac": self._mac,
            "restart_required": False,
            "time": clock,
            "unixtime": now_s,
            "uptime": now_s - self._booted_s,
            "ram_size": 260000,
            "ram_free": 120000,
            "fs_size": 458752,
            "fs_free": 143360,
            "cfg_rev": 1,
            "available_updates": {},
        }

    def _sys_config(self) -> dict[str, Any]:
        return {
            "device": {
                "name": None,
                "mac": self._mac,
                "fw_id": FIRMWARE,
                "discoverable": True,
                "eco_mode": False,
                "profile": "switch",
            },
            "location": {"tz": "UTC", "lat": 0.0, "lon": 0.0},
            "ui_data": {},
            "cfg_rev": 1,
        }

    def _status(self) -> dict[str, Any]:
        switch = self._switch_status(0)
        return {
            "ble": {},
            "cloud": {"connected": False},
            "mqtt": {"connected": False},
            "switch:0": switch,
            "sys": self._sys_status(),
            "wifi": {"sta_ip": "127.0.0.1", "status": "got ip", "ssid": "emulated", "rssi": -50},
            "ws": {"connected": False},
        }

    def _config(self) -> dict[str, Any]:
        return {
            "ble": {"enable": False, "rpc": {"enable": False}},
            "cloud": {"enable": False},
            "mqtt": {"enable": False},
            "switch:0": self._switch_config(0),
            "sys": self._sys_config(),
            "wifi": {"ap": {"enable": False}, "sta": {"ssid": "emulated", "enable": True}},
            "ws": {"enable": False},
        }

    def _components(self, params: dict[str, Any]) -> dict[str, Any]:
        offset = params.get("offset", 0)
        if params.get("dynamic_only") or not isinstance(offset, int):
            return {"components": [], "cfg_rev": 1, "offset": 0, "total": 0}
        status, config = self._status(), self._config()
        components = [
            {"key": key, "status": status[key], "config": config[key]} for key in sorted(status)
        ]
        return {
            "components": components[offset:],
            "cfg_rev": 1,
            "offset": offset,
            "total": len(components),
        }


def _switch(params: dict[str, Any]) -> int:
    if "id" not in params:
        raise RpcError(-103, "Missing required argument 'id'!")
    if params["id"] != 0:
        raise RpcError(-105, f"Argument 'id', value {params['id']} not found!")
    return 0


def _flag(params: dict[str, Any], name: str) -> bool:
    value = params.get(name)
    if not isinstance(value, bool):
        raise RpcError(-103, f"Missing or bad argument '{name}'!")
    return value
