"""Literals of many kinds in span names: each is told by its own form, however few of them there are."""

from __future__ import annotations

import pytest

from tracescope.conventions.operations import template_name

#: A name, the literals in it, and its template.
NAMES = [
    # in several languages
    ("Bestellung 4711 anlegen", "4711", "Bestellung {id} anlegen"),
    ("Kunde Müller-Schmidt#77 laden", "77", "Kunde Müller-Schmidt#{id} laden"),
    ("commande n°12345 validée", "12345", "commande n°{id} validée"),
    ("注文 12345", "12345", "注文 {id}"),
    ("طلب ٤٢", "٤٢", "طلب {id}"),
    # ids that are drawn
    ("load user 01ARZ3NDEKTSV4RRFFQ69G5FAV", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "load user {id}"),
    ("fetch order V1StGXR8_Z5jdHi6B-myT", "V1StGXR8 Z5jdHi6B myT", "fetch order {id}"),
    ("charge ch_3MmlLrLkdIwHu7ix0snN0B15", "3MmlLrLkdIwHu7ix0snN0B15", "charge ch_{id}"),
    ("cus_NffrFeUfNV2Hib", "NffrFeUfNV2Hib", "cus_{id}"),
    ("open M7kHq", "M7kHq", "open {id}"),
    ("sell AB12CD", "AB12CD", "sell {id}"),
    ("get clh3n2k0x0000qw08v2m1e5b7", "clh3n2k0x0000qw08v2m1e5b7", "get {id}"),
    ("find ObjectId(507f1f77bcf86cd799439011)", "507f1f77bcf86cd799439011", "find ObjectId({id})"),
    ("urn:uuid:550e8400-e29b-41d4-a716-446655440000", "550e8400", "urn:uuid:{id}"),
    ("tx 0x52908400098527886E0F7030069857D2E4169EE7", "0x5290", "tx {id}"),
    ("SET sess:QmFzZTY0IQ==", "QmFzZTY0IQ", "SET sess:{id}"),
    ("decode QmFzZTY0VGV4dCBoZXJl", "QmFzZTY0VGV4dCBoZXJl", "decode {id}"),
    ("pod my-app-6d4cf56db6-9ddw2", "6d4cf56db6 9ddw2", "pod my-app-{id}"),
    ("verify eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcDEF123", "eyJhbGciOiJIUzI1NiJ9", "verify {id}"),
    # numbers that name a person or an account
    ("pay DE89370400440532013000", "DE89370400440532013000", "pay {id}"),
    ("pay DE89 3704 0044 0532 0130 00", "89 3704 0044", "pay DE{id}"),
    ("pay GB82WEST12345698765432", "WEST", "pay {id}"),
    ("call +49 170 1234567", "49 170 1234567", "call {id}"),
    ("call 555-123-4567", "555", "call {id}"),
    ("card 4111 1111 1111 1111", "4111 1111", "card {id}"),
    ("ssn 123-45-6789", "6789", "ssn {id}"),
    ("vin 1HGCM82633A004352", "1HGCM82633A004352", "vin {id}"),
    ("isbn 978-3-16-148410-0", "148410", "isbn {id}"),
    # times
    ("report 2024-01-31", "2024", "report {id}"),
    ("report 31.01.2024", "2024", "report {id}"),
    ("report 20240131T101500Z", "20240131T101500Z", "report {id}"),
    ("report Jan 31 2024", "Jan 31 2024", "report {id}"),
    ("report 31. Januar 2024", "Januar 31 2024", "report {id}"),
    ("report Wed, 31 Jan 2024 10:15:00", "Wed 31 Jan 2024", "report {id}"),
    ("rapport 31 janvier", "31", "rapport {id} janvier"),
    # addresses
    ("connect 2001:db8::ff00:42:8329", "db8 ff00", "connect {id}"),
    ("connect ::1", "1", "connect {id}"),
    ("connect 192.168.0.17:8080", "192 8080", "connect {id}"),
    ("arp 00:1A:2B:3C:4D:5E", "1A 5E", "arp {id}"),
    ("arp 00-1A-2B-3C-4D-5E", "1A 5E", "arp {id}"),
    # people
    ('send "jane@mail.example"', "jane", "send {id}"),
    ("notify jane.doe+x@mail.example.co.uk", "jane doe", "notify {id}"),
    ("mention @jane", "jane", "mention {id}"),
    ("user: jane logged in", "jane", "user: {id} logged in"),
    ("login name=jane", "jane", "login name={id}"),
    ("greet “jane”", "jane", "greet {id}"),
    ("saluer «Jeanne»", "Jeanne", "saluer {id}"),
    ("grüße „Jana“", "Jana", "grüße {id}"),
    ("read /home/jane/docs/report.pdf", "jane", "read /home/{id}/docs/report.pdf"),
    (r"read C:\Users\jane\file.txt", "jane", r"read C:\Users\{id}\file.txt"),
    ("GET /u/jane@mail.example/x", "jane", "GET /u/{id}/x"),
    # keys
    ("get user:ab12:cart", "ab12", "get user:{id}:cart"),
    ("cache.get user:alice:profile", "alice", "cache.get user:{id}:profile"),
    ("HGET user:77 name", "77", "HGET user:{id} name"),
    ("lock:inventory:sku-9931", "9931", "lock:inventory:sku-{id}"),
    ("GetObject my-bucket/2024/01/31/part-00017.parquet", "2024 00017",
     "GetObject my-bucket/{id}/{id}/{id}/part-{id}.parquet"),
    ("S3.PutObject uploads/jane@mail.example/avatar.png", "jane", "S3.PutObject uploads/{id}/avatar.png"),
    ("arn:aws:sqs:eu-west-1:123456789012:orders", "123456789012", "arn:aws:sqs:eu-west-{id}:orders"),
    # statements
    ("SELECT * FROM books WHERE owner = 'jane' AND n = 7", "jane 7", "SELECT books"),
    ("MATCH (u:User {name: 'jane'}) RETURN u", "jane", "MATCH User"),
    ('query GetUser { user(id: "77") { name } }', "77", "query GetUser { user(id: {id}) { name } }"),
    ('users.findOne {"email":"a@b.example"}', "example", "users.findOne {{id}}"),
    ("SELECT orders2023", "2023", "SELECT orders{id}"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "literals", "template"), NAMES, ids=[name for name, _, _ in NAMES])
def test_one_literal_alone_is_told_by_its_form(name: str, literals: str, template: str) -> None:
    """Nothing of it is left, nor does the template change when it is read again."""
    made = template_name(name)
    assert made == template
    left = made.replace("{id}", " ")
    assert not any(literal in left for literal in literals.split())
    assert template_name(made) == made


@pytest.mark.parametrize(
    "name",
    [
        "GET /v1/orders", "GET /users/me", "GET /home/settings", "GET /users/search", "publish user:created",
        "ERROR: timeout", "Task: cleanup", "@nestjs/core run", "getX509Certificate", "decodeBase64String",
        "Sha256Hasher.update", "Utf8Decoder", "toInt64", "OAuth2Token.refresh", "S3Client.putObject",
        "Http2Stream", "MyV2Api", "getV2Api", "Log4jAppender", "H2Database.query", "Step2Handler",
        "Neo4jRepository.find", "Get3DModel", "Web3Provider.call", "Auth0Client", "Vue3App",
        "UserV2Controller#show", "Api::V1::OrdersController#show", r"App\Http\Controllers\UserController",
        "l’utilisateur crée", "EUR/USD", "market open", "render home_page_v2",
    ],
)  # fmt: skip
def test_names_of_what_a_program_does_stay_as_they_are(name: str) -> None:
    """Versions, protocols, classes, events and routes hold digits and marks, and tell no one thing."""
    assert template_name(name) == name
