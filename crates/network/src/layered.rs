//! The user's databases over the bundled table.

use std::net::IpAddr;

use tokenwatch_model::network::{AddressFacts, NetworkFacts, NetworkKind, canonical, is_private};
use tokenwatch_model::time::Timestamp;

use crate::bundled::{Bundled, STALE_AFTER};
use crate::user::{UserFacts, UserTables};

/// Every table there is, asked in order; with none, only private addresses are known.
#[derive(Debug, Default)]
pub struct Tables {
    user: Option<UserTables>,
    bundled: Option<Bundled>,
}

impl Tables {
    /// Layers `user` over `bundled`.
    pub fn new(user: Option<UserTables>, bundled: Option<Bundled>) -> Self {
        Self { user: user.filter(|user| !user.is_empty()), bundled }
    }

    /// The bundled table, if it is used.
    pub const fn bundled(&self) -> Option<&Bundled> {
        self.bundled.as_ref()
    }

    /// The user's databases, if there are any.
    pub const fn user(&self) -> Option<&UserTables> {
        self.user.as_ref()
    }

    /// The age of the tables by which most addresses are judged: the oldest of the user's, else the bundled.
    pub fn date(&self) -> Option<Timestamp> {
        self.user.as_ref().and_then(UserTables::built).or_else(|| self.bundled.map(|bundled| bundled.date()))
    }

    /// Whether that date is more than [`STALE_AFTER`] ago.
    pub fn is_stale(&self, now: Timestamp) -> bool {
        self.date().is_some_and(|date| now.since(date) > STALE_AFTER)
    }

    /// The kind of an address, from what the user's databases say and what the bundled table says.
    ///
    /// A VPN, Tor or hosting flag of the user's counts, and so does one of the bundled table, the stronger one
    /// winning; but where the user has a database of anonymity, the bundled VPN and Tor entries, which age fast, do
    /// not. Without a flag, it is the kind of the system: by the user's database, else by the bundled lists.
    fn kind(&self, above: UserFacts, below: NetworkFacts) -> NetworkKind {
        let listed = match above.asn {
            Some(asn) if asn != below.asn => self.kind_of_system(asn),
            _ => below.kind,
        };
        let bundled_flag = match below.kind {
            kind @ (NetworkKind::Vpn | NetworkKind::Tor) if !above.anonymity_asked => Some(kind),
            _ => None,
        };
        let user_flag = above.kind.filter(|kind| *kind >= NetworkKind::Hosting);
        if let Some(flag) = user_flag.max(bundled_flag) {
            return flag;
        }
        match above.kind.unwrap_or(listed) {
            // Overruled by the user's database: a VPN's system is a hosting company, a Tor exit may be anywhere.
            NetworkKind::Vpn if above.anonymity_asked => NetworkKind::Hosting,
            NetworkKind::Tor if above.anonymity_asked => {
                self.kind_of_system(below.asn).min(NetworkKind::Hosting)
            }
            kind => kind,
        }
    }

    /// The kind of a system by the bundled lists. One that they do not name is an access network, as in the bundled
    /// table itself; without lists nothing is known.
    fn kind_of_system(&self, asn: u32) -> NetworkKind {
        match self.bundled.map(|bundled| bundled.table().kind_of(asn)) {
            Some(NetworkKind::Unknown) if asn != 0 => NetworkKind::Access,
            listed => listed.unwrap_or_default(),
        }
    }
}

impl AddressFacts for Tables {
    fn facts(&self, address: IpAddr) -> NetworkFacts {
        let address = canonical(address);
        if is_private(address) {
            return NetworkFacts { kind: NetworkKind::Private, ..NetworkFacts::default() };
        }
        let below = self.bundled.map(|bundled| bundled.facts(address)).unwrap_or_default();
        let Some(user) = &self.user else { return below };
        let above = user.facts_of(address);
        NetworkFacts {
            asn: above.asn.unwrap_or(below.asn),
            country: above.country.unwrap_or(below.country),
            kind: self.kind(above, below),
        }
    }

    fn organisation(&self, asn: u32) -> Option<&str> {
        self.user
            .as_ref()
            .and_then(|user| user.organisation_name(asn))
            .or_else(|| self.bundled.and_then(|bundled| bundled.organisation_name(asn)))
    }
}
