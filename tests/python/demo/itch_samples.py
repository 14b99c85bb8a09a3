"""One message of every ITCH 5.0 type: its bytes, written by hand after the specification's tables, and its fields."""

from __future__ import annotations

from sfloop.demo import itch

HEAD = b"\x00\x07\x00\x02\x1f\x1a\xd6\x35\xbd\x15"
"""Stock locate 7, tracking number 2, timestamp 34,200.123456789 s after midnight."""
FIELDS = (7, 2, 34_200_123_456_789)
STOCK = b"ZVZZT   "

SAMPLES: list[tuple[bytes, itch.ItchMessage]] = [
    (b"S" + HEAD + b"Q", itch.SystemEvent(*FIELDS, "Q")),
    (
        b"R" + HEAD + STOCK + b"Q" b"N" b"\x00\x00\x00\x64" b"N" b"C" b"Z " b"P" b"N" b"N" b"1" b"N"
        b"\x00\x00\x00\x03" b"Y",
        itch.StockDirectory(*FIELDS, "ZVZZT", "Q", "N", 100, "N", "C", "Z", "P", "N", "N", "1", "N", 3, "Y"),
    ),
    (b"H" + HEAD + STOCK + b"T" b" " b"IPO1", itch.StockTradingAction(*FIELDS, "ZVZZT", "T", "", "IPO1")),
    (b"Y" + HEAD + STOCK + b"1", itch.RegSho(*FIELDS, "ZVZZT", "1")),
    (
        b"L" + HEAD + b"GSCO" + STOCK + b"Y" b"N" b"A",
        itch.MarketParticipantPosition(*FIELDS, "GSCO", "ZVZZT", "Y", "N", "A"),
    ),
    (
        b"V" + HEAD + b"\x00\x00\x00\x60\xa0\x24\x10\x80" b"\x00\x00\x00\x5a\x62\xb3\x5c\x00"
        b"\x00\x00\x00\x00\x00\x00\x00\x01",
        itch.MwcbDeclineLevel(*FIELDS, 415_003_578_496, 388_202_978_304, 1),
    ),
    (b"W" + HEAD + b"2", itch.MwcbStatus(*FIELDS, "2")),
    (
        b"K" + HEAD + STOCK + b"\x00\x00\x85\x98" b"A" b"\x00\x02\x49\xf0",
        itch.IpoQuotingPeriod(*FIELDS, "ZVZZT", 34_200, "A", 150_000),
    ),
    (
        b"J" + HEAD + STOCK + b"\x00\x01\x86\xa0" b"\x00\x01\x9a\x28" b"\x00\x01\x73\x18" b"\x00\x00\x00\x01",
        itch.LuldAuctionCollar(*FIELDS, "ZVZZT", 100_000, 105_000, 95_000, 1),
    ),
    (b"h" + HEAD + STOCK + b"B" b"H", itch.OperationalHalt(*FIELDS, "ZVZZT", "B", "H")),
    (
        b"A" + HEAD + b"\x00\x00\x00\x00\x00\x00\x10\x01" b"B" b"\x00\x00\x01\x2c" + STOCK + b"\x00\x01\x86\xa0",
        itch.AddOrder(*FIELDS, 4097, "B", 300, "ZVZZT", 100_000),
    ),
    (
        b"F" + HEAD + b"\x00\x00\x00\x00\x00\x00\x10\x02" b"S" b"\x00\x00\x00\x64" + STOCK
        + b"\x00\x01\x87\x04" b"GSCO",
        itch.AddOrderMpid(*FIELDS, 4098, "S", 100, "ZVZZT", 100_100, "GSCO"),
    ),
    (
        b"E" + HEAD + b"\x00\x00\x00\x00\x00\x00\x10\x01" b"\x00\x00\x00\x64" b"\x00\x00\x00\x00\x00\x00\x00\x09",
        itch.OrderExecuted(*FIELDS, 4097, 100, 9),
    ),
    (
        b"C" + HEAD + b"\x00\x00\x00\x00\x00\x00\x10\x01" b"\x00\x00\x00\x64" b"\x00\x00\x00\x00\x00\x00\x00\x0a"
        b"N" b"\x00\x01\x86\xd2",
        itch.OrderExecutedWithPrice(*FIELDS, 4097, 100, 10, "N", 100_050),
    ),
    (
        b"X" + HEAD + b"\x00\x00\x00\x00\x00\x00\x10\x01" b"\x00\x00\x00\x32",
        itch.OrderCancel(*FIELDS, 4097, 50),
    ),
    (b"D" + HEAD + b"\x00\x00\x00\x00\x00\x00\x10\x01", itch.OrderDelete(*FIELDS, 4097)),
    (
        b"U" + HEAD + b"\x00\x00\x00\x00\x00\x00\x10\x02" b"\x00\x00\x00\x00\x00\x00\x10\x05" b"\x00\x00\x00\xc8"
        b"\x00\x01\x87\x68",
        itch.OrderReplace(*FIELDS, 4098, 4101, 200, 100_200),
    ),
    (
        b"P" + HEAD + b"\x00\x00\x00\x00\x00\x00\x00\x00" b"B" b"\x00\x00\x01\xf4" + STOCK + b"\x00\x01\x86\xa0"
        b"\x00\x00\x00\x00\x00\x00\x00\x0b",
        itch.Trade(*FIELDS, 0, "B", 500, "ZVZZT", 100_000, 11),
    ),
    (
        b"Q" + HEAD + b"\x00\x00\x00\x00\x00\x01\x86\xa0" + STOCK + b"\x00\x01\x86\xa0"
        b"\x00\x00\x00\x00\x00\x00\x00\x0c"
        b"O",
        itch.CrossTrade(*FIELDS, 100_000, "ZVZZT", 100_000, 12, "O"),
    ),
    (b"B" + HEAD + b"\x00\x00\x00\x00\x00\x00\x00\x0b", itch.BrokenTrade(*FIELDS, 11)),
    (
        b"I" + HEAD + b"\x00\x00\x00\x00\x00\x00\x03\xe8" b"\x00\x00\x00\x00\x00\x00\x01\xf4" b"S" + STOCK
        + b"\x00\x01\x86\x3c" b"\x00\x01\x87\x04" b"\x00\x01\x86\xa0" b"C" b"L",
        itch.NetOrderImbalance(*FIELDS, 1_000, 500, "S", "ZVZZT", 99_900, 100_100, 100_000, "C", "L"),
    ),
    (b"N" + HEAD + STOCK + b"A", itch.RetailPriceImprovement(*FIELDS, "ZVZZT", "A")),
    (
        b"O" + HEAD + STOCK + b"Y" b"\x00\x01\x38\x80" b"\x00\x01\xd4\xc0" b"\x00\x01\x86\xa0"
        b"\x00\x00\x1f\x1a\xd6\x35\xbd\x15" b"\x00\x01\x5f\x90" b"\x00\x01\xad\xb0",
        itch.DirectListing(*FIELDS, "ZVZZT", "Y", 80_000, 120_000, 100_000, 34_200_123_456_789, 90_000, 110_000),
    ),
]  # fmt: skip

SIZES = {
    "S": 12, "R": 39, "H": 25, "Y": 20, "L": 26, "V": 35, "W": 12, "K": 28, "J": 35, "h": 21, "A": 36, "F": 40,
    "E": 31, "C": 36, "X": 23, "D": 19, "U": 35, "P": 44, "Q": 40, "B": 19, "I": 50, "N": 20, "O": 48,
}  # fmt: skip
"""Message lengths as the specification's tables add up."""
