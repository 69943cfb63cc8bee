"""A mail server, by aiosmtpd."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink
from aiosmtpd.smtp import SMTP

from lb.model.address import Address
from lb.model.check import ProbeResult, SmtpGreeting
from tests.support.ports import free_port
from tests.support.probing import probed


class Mail(SMTP):
    """It remembers what it was told, and how each session ended."""

    heard: list[bytes]

    async def smtp_QUIT(self, arg: str) -> None:
        self.heard.append(b"QUIT")
        await super().smtp_QUIT(arg)

    async def smtp_EHLO(self, arg: str) -> None:
        self.heard.append(b"EHLO " + arg.encode())
        if arg == "refused.test":
            await self.push("550 not you")
        else:
            await super().smtp_EHLO(arg)


class Mails(Controller):
    def __init__(self) -> None:
        self.heard: list[bytes] = []
        super().__init__(Sink(), hostname="127.0.0.1", port=free_port())

    def factory(self) -> Mail:
        served = Mail(self.handler, hostname="mail.test", ident="ready")
        served.heard = self.heard
        return served


@pytest.fixture
def mails() -> Iterator[Mails]:
    controller = Mails()
    controller.start()
    yield controller
    controller.stop()


def test_server_that_greets_passes_and_hears_a_goodbye(mails: Mails) -> None:
    address = Address("127.0.0.1", mails.port)
    assert probed(SmtpGreeting("lb.test"), address) == ProbeResult(True, "220 mail.test ready")
    assert mails.heard == [b"EHLO lb.test", b"QUIT"]


def test_server_that_refuses_fails(mails: Mails) -> None:
    address = Address("127.0.0.1", mails.port)
    assert probed(SmtpGreeting("refused.test"), address) == ProbeResult(False, "answered 550 not you")
