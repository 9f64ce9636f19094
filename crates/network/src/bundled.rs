//! The table inside the program, and picking real addresses from it.

use std::net::{IpAddr, Ipv4Addr};

use tokenwatch_model::network::{AddressFacts, Country, NetworkFacts, NetworkKind, is_private};
use tokenwatch_model::time::{DAY, Timestamp};

use crate::table::{Table, V4Range};

/// Made by `cargo xtask networks`; `data/README.md` says from what.
static BYTES: &[u8] = include_bytes!("../data/networks.bin");

/// Age in microseconds from which the bundled data should be reported as old: 90 days.
pub const STALE_AFTER: u64 = 90 * DAY;

/// The table inside the program. Free to make and to copy.
///
/// Whoever shows its results must credit RouteViews, NRO and DB-IP.com: [`Bundled::ATTRIBUTION`].
#[derive(Clone, Copy, Debug)]
pub struct Bundled {
    table: Table<'static>,
}

/// Which addresses are wanted; what is `None` does not matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The autonomous system.
    pub asn: Option<u32>,
    /// The country.
    pub country: Option<Country>,
    /// The kind of network.
    pub kind: Option<NetworkKind>,
}

impl Wanted {
    fn matches(&self, facts: &NetworkFacts) -> bool {
        self.asn.is_none_or(|asn| asn == facts.asn)
            && self.country.is_none_or(|country| country == facts.country)
            && self.kind.is_none_or(|kind| kind == facts.kind)
    }
}

impl Bundled {
    /// The credit that the data's licences ask for wherever results are shown.
    pub const ATTRIBUTION: &'static str = "Network data: RouteViews (routeviews.org), NRO (nro.net), IP Geolocation by DB-IP (https://db-ip.com)";

    /// The bundled table.
    pub fn new() -> Self {
        // A test proves that the committed bytes parse; without them a gateway still judges by prefix.
        Self { table: Table::parse(BYTES).unwrap_or(Table::EMPTY) }
    }

    /// The table itself.
    pub const fn table(&self) -> Table<'static> {
        self.table
    }

    /// Midnight UTC of the day the data was made.
    pub const fn date(&self) -> Timestamp {
        self.table.date()
    }

    /// Whether the data is older than [`STALE_AFTER`].
    pub const fn is_stale(&self, now: Timestamp) -> bool {
        now.since(self.date()) > STALE_AFTER
    }

    /// The name of an autonomous system.
    pub fn organisation_name(&self, asn: u32) -> Option<&'static str> {
        self.table.organisation_name(asn)
    }

    /// The IPv4 ranges of an autonomous system, rising. Walks the whole table: some milliseconds.
    pub fn ranges_of(&self, asn: u32) -> impl Iterator<Item = V4Range> + use<> {
        self.table.v4_ranges().filter(move |(_, _, facts)| facts.asn == asn)
    }

    /// The first usable IPv4 address of an autonomous system. Walks the table: for demos and tests.
    pub fn first_address_of(&self, asn: u32) -> Option<Ipv4Addr> {
        self.example_addresses(Wanted { asn: Some(asn), ..Wanted::default() }).next()
    }

    /// Public IPv4 addresses whose facts are as wanted, rising, one of each range. Walks the table: for demos and
    /// tests.
    pub fn example_addresses(&self, wanted: Wanted) -> impl Iterator<Item = Ipv4Addr> + use<> {
        let ranges = self.table.v4_ranges().filter(move |(_, _, facts)| wanted.matches(facts));
        ranges.map(host_in).filter(|address| !is_private(IpAddr::V4(*address)))
    }
}

/// An address of a range that looks like a host's: not the network's own when there is another.
fn host_in((first, last, _): V4Range) -> Ipv4Addr {
    if first == last { first } else { Ipv4Addr::from(u32::from(first).saturating_add(1)) }
}

impl Default for Bundled {
    fn default() -> Self {
        Self::new()
    }
}

impl AddressFacts for Bundled {
    fn facts(&self, address: IpAddr) -> NetworkFacts {
        self.table.facts(address)
    }

    fn organisation(&self, asn: u32) -> Option<&str> {
        self.organisation_name(asn)
    }
}
