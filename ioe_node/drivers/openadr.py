"""An OpenADR 2.0b VEN: asks the utility's server (VTN) what it wishes, and takes part.

Pull model over HTTP: it registers, fetches all events, and from then on polls for news, each time
that its periods are asked for.  Every event is opted in to: what the household then does is up to
its owner's apps.  Reports are not offered.
"""

import ssl
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

import msgspec
import trio

from ioe_node.drivers.driver import parse_options
from ioe_node.drivers.feed import Period
from ioe_node.drivers.http_fetch import fetch
from ioe_node.drivers.openadr_messages import (
    Distributed,
    Other,
    Registered,
    create_registration,
    created_events,
    decode_payload,
    poll,
    request_events,
)
from ioe_node.errors import ConfigError, LocalError, TransportError

POLLS_MAX = 10
"""So many messages may wait for us at once; the rest comes next time."""
HEADERS = {"Content-Type": "application/xml"}


class OpenAdrOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`url` ends before the service's name: `https://vtn.example/OpenADR2/Simple/2.0b`.

    `cert_file` and `key_file` are our certificate, `ca_file` who vouches for the server where the
    public authorities do not.  `currency` is that of prices which name none; '' for credits.
    """

    url: Annotated[str, msgspec.Meta(pattern="^https?://")]
    ven_name: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    ven_id: Annotated[str, msgspec.Meta(max_length=128)] = ""
    cert_file: str | None = None
    key_file: str | None = None
    ca_file: str | None = None
    currency: Annotated[str, msgspec.Meta(max_length=8)] = ""


class Ven:
    """A `PriceFeed`."""

    def __init__(self, options: OpenAdrOptions, tls: ssl.SSLContext | None) -> None:
        self._options, self._tls = options, tls
        self._ven_id: str | None = None
        self._requests = 0
        self._answered: dict[str, int] = {}
        self._periods: tuple[Period, ...] = ()
        self._turn = trio.Lock()

    @classmethod
    def from_options(cls, options: Mapping[str, object]) -> "Ven":
        """ConfigError names the key."""
        parsed = parse_options(options, OpenAdrOptions, "openadr")
        if (parsed.cert_file is None) != (parsed.key_file is None):
            raise ConfigError("driver openadr: give both `cert_file` and `key_file`, or neither")
        return cls(parsed, _tls(parsed))

    async def periods(self) -> tuple[Period, ...]:
        """The events of now and later, after a poll for news."""
        async with self._turn:
            try:
                for _ in range(POLLS_MAX):
                    if not await self._go_on():
                        break
            except (LocalError, TransportError) as failure:
                if isinstance(failure, LocalError):
                    self._ven_id = None  # it may have forgotten us: next time we start anew
                raise type(failure)(f"openadr {self._options.url}: {failure}") from None
            return self._periods

    async def _go_on(self) -> bool:
        """Register where that is due, or ask for news; False when there are none."""
        if self._ven_id is not None:
            return await self._hear("OadrPoll", poll(self._ven_id))
        self._ven_id = await self._register()
        await self._hear("EiEvent", request_events(self._next_id(), self._ven_id))
        return True

    async def _register(self) -> str:
        options = self._options
        told = await self._ask(
            "EiRegisterParty",
            create_registration(self._next_id(), options.ven_name, options.ven_id),
        )
        if not isinstance(told, Registered):
            raise LocalError("it does not answer a registration with one: check `url`")
        self._answered = {}
        return told.ven_id

    async def _hear(self, service: str, request: bytes) -> bool:
        """Ask, and do what the answer wants; False where it wants nothing."""
        told = await self._ask(service, request)
        if isinstance(told, Distributed):
            await self._take(told)
            return True
        if told == Other("oadrRequestReregistration"):
            self._ven_id = None
            return True
        if told == Other("oadrCancelPartyRegistration"):
            raise LocalError("it has cancelled our registration: ask the utility why")
        return told != Other("oadrResponse")

    async def _take(self, told: Distributed) -> None:
        """Answer what is new, and only then believe it."""
        assert self._ven_id is not None
        current = {event.id: event.modification for event in told.events}
        new = [
            event
            for event in told.events
            if event.wants_answer and self._answered.get(event.id) != event.modification
        ]
        if new:
            await self._ask("EiEvent", created_events(self._ven_id, told.request_id, new))
        self._answered = current
        every = (
            replace(period, currency=period.currency or self._options.currency)
            for event in told.events
            for period in event.periods
        )
        self._periods = tuple(sorted(every, key=lambda period: (period.start_us, period.end_us)))

    async def _ask(self, service: str, request: bytes) -> Distributed | Registered | Other:
        url = f"{self._options.url.rstrip('/')}/{service}"
        body = await fetch(url, request, HEADERS, self._tls)
        return decode_payload(body, self._options.url) if body else Other("oadrResponse")

    def _next_id(self) -> str:
        self._requests += 1
        return f"ioe-{self._requests}"


def _tls(options: OpenAdrOptions) -> ssl.SSLContext | None:
    if options.ca_file is None and options.cert_file is None:
        return None
    try:
        context = ssl.create_default_context(cafile=options.ca_file)
        if options.cert_file is not None:
            context.load_cert_chain(options.cert_file, options.key_file)
    except (OSError, ValueError) as refusal:
        raise ConfigError(f"driver openadr: cert_file, key_file, ca_file: {refusal}") from None
    return context
