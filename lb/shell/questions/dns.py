"""A DNS query over UDP, by dnspython. A reply to another query (late, or forged) does not count."""

from __future__ import annotations

import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype

from lb.model.address import SocketAddress
from lb.model.check import DnsQuery
from lb.model.pattern import compiled
from lb.shell.questions.answer import Failed, Passed
from lb.shell.questions.datagram import exchanged


async def ask(query: DnsQuery, address: SocketAddress) -> Passed:
    asked = dns.message.make_query(query.query, query.query_type)
    return await exchanged(asked.to_wire(), address, lambda reply: judged(query, asked, reply))


def judged(query: DnsQuery, asked: dns.message.QueryMessage, reply: bytes) -> Passed | None:
    try:
        answer = dns.message.from_wire(reply, ignore_trailing=True, raise_on_truncation=False)
    except dns.exception.DNSException as error:
        raise Failed(f"not DNS: {error}") from error
    if not asked.is_response(answer):
        return None
    if answer.rcode() != dns.rcode.NOERROR:
        raise Failed(f"answered {dns.rcode.to_text(answer.rcode())}")
    wanted = dns.rdatatype.from_text(query.query_type)
    records = [record.to_text() for group in answer.answer if group.rdtype == wanted for record in group]
    if query.answer is not None:
        pattern = compiled(query.answer)
        records = [record for record in records if pattern.search(record.encode())]
    if not records:
        which = f" that matches /{query.answer}/" if query.answer else ""
        raise Failed(f"no {query.query_type} record{which} in the answer")
    return Passed(f"{query.query_type} {records[0]}")
