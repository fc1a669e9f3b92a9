"""What a consumer of server-side subscription sees: login, group and link. No message is taken."""

import asyncio
from typing import TypeVar

from linkstead.amqp.credentials import parse_user_name, sign_login
from linkstead.amqp.frames import (
    AMQP_HEADER,
    SASL_HEADER,
    Attach,
    Begin,
    Close,
    Detach,
    End,
    Malformed,
    Open,
    Performative,
    SaslInit,
    SaslOutcome,
    SaslPerformative,
    Source,
    Splitter,
    Target,
    decode_frame,
    encode_frame,
)
from linkstead.amqp.protocol import NOT_FOUND
from linkstead.clock import Clock, milliseconds
from linkstead.doctor.faults import Fault
from linkstead.doctor.findings import FaultFound, Patient
from linkstead.doctor.ports import Port

READ_BYTES_MAX = 65_536
FRAME_BYTES_MAX = 1_048_576
CLIENT_ID = "linkstead-doctor"
IDLE_TIME_OUT_MS = 60_000
_Kind = TypeVar("_Kind")


class Consumer:
    """A consumer with the patient's access key."""

    def __init__(self, port: Port, patient: Patient, clock: Clock) -> None:
        self._port = port
        self._patient = patient
        self._clock = clock
        self._splitter = Splitter(FRAME_BYTES_MAX)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def log_in(self) -> str:
        """Log in, and stay connected until `close`.

        Raises:
            FaultFound: the credentials or the group were refused, or there was no answer.
        """
        group_id = self._patient.consumer_group_id
        options = f"authMode=aksign,signMethod=hmacsha256,timestamp={milliseconds(self._clock.time_s())}"
        group = f",consumerGroupId={group_id}" if group_id else ""
        user_name = f"{CLIENT_ID}|{options},authId={self._patient.access_key_id}{group}|"
        password = sign_login(parse_user_name(user_name), self._patient.access_key_secret)
        try:
            async with asyncio.timeout(self._patient.wait_s):
                self._reader, self._writer = await self._port.open(self._port.tls)
                login = SaslInit(mechanism="PLAIN", initial_response=f"\0{user_name}\0{password}".encode())
                self._writer.write(SASL_HEADER + encode_frame(login))
                await self._pass_header()
                outcome = await self._expect(SaslOutcome)
                if outcome.code:
                    raise FaultFound(Fault.AMQP_LOGIN, code=outcome.code)
                opening = Open(container_id=CLIENT_ID, idle_time_out=IDLE_TIME_OUT_MS)
                self._writer.write(AMQP_HEADER + encode_frame(opening))
                await self._pass_header()
                await self._expect(Open)
                self._writer.write(encode_frame(Begin(next_outgoing_id=0, incoming_window=1, outgoing_window=1)))
                # the end of a connection that is refused for its group follows its beginning
                await self._expect(Begin)
        except (OSError, EOFError, TimeoutError, Malformed) as error:
            raise FaultFound(Fault.AMQP_REFUSED, reason=str(error) or type(error).__name__) from None
        return group_id or "DEFAULT_GROUP"

    async def attach(self) -> str:
        """Attach a receiver without credit. Raises FaultFound: see `log_in`."""
        link = Attach(name=CLIENT_ID, handle=0, role=True, source=Source(), target=Target())
        try:
            async with asyncio.timeout(self._patient.wait_s):
                self._write(encode_frame(link))
                answer = await self._expect(Attach)
                if answer.source is None:
                    await self._expect(Detach)
        except (OSError, EOFError, TimeoutError, Malformed) as error:
            raise FaultFound(Fault.AMQP_REFUSED, reason=str(error) or type(error).__name__) from None
        return ""

    async def close(self) -> None:
        """Say goodbye; harmless where there is no connection."""
        if self._writer is not None:
            self._write(encode_frame(Close()))
            self._writer.close()

    def _write(self, data: bytes) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(data)

    async def _expect(self, kind: type[_Kind]) -> _Kind:
        while True:
            found = await self._next()
            if isinstance(found, kind):
                self._check_end(found)
                return found
            self._check_end(found)

    def _check_end(self, found: object) -> None:
        if not isinstance(found, Close | End | Detach):
            return
        if found.error is None:
            raise EOFError(type(found).__name__)
        if found.error.condition == NOT_FOUND:
            raise FaultFound(Fault.CONSUMER_GROUP_UNKNOWN, consumer_group_id=self._patient.consumer_group_id)
        raise FaultFound(Fault.AMQP_REFUSED, reason=f"{found.error.condition}: {found.error.description or ''}")

    async def _pass_header(self) -> None:
        while self._splitter.take_header() is None:
            await self._receive()

    async def _next(self) -> Performative | SaslPerformative | None:
        while (frame := self._splitter.take_frame()) is None:
            await self._receive()
        return decode_frame(frame)[0]

    async def _receive(self) -> None:
        data = await self._reader.read(READ_BYTES_MAX) if self._reader is not None else b""
        if not data:
            raise EOFError("the server closed the connection")
        self._splitter.feed(data)
