//! The user's own databases in MaxMind format: country or city, autonomous system, anonymity.
//!
//! The application reads the files and hands in bytes; to reload, it builds a new value and swaps it in.

mod fields;
mod names;

use std::fmt;
use std::net::IpAddr;

use maxminddb::{MaxMindDbError, Reader};
use tokenwatch_model::network::{Country, NetworkKind, canonical};
use tokenwatch_model::time::Timestamp;

use fields::Record;
use names::Names;

/// Networks that are looked at to see whether a database has the fields its role needs.
const SAMPLED: usize = 65_536;

/// What a database is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TableRole {
    /// Address to country; a city database will do.
    Country,
    /// Address to autonomous system.
    Asn,
    /// Address to VPN, proxy, Tor and hosting flags.
    Anonymity,
}

impl TableRole {
    /// The word used in messages and in configuration keys (`country_database`, …).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Country => "country",
            Self::Asn => "asn",
            Self::Anonymity => "anonymity",
        }
    }

    const fn fields(self) -> &'static str {
        match self {
            Self::Country => fields::COUNTRY_FIELDS,
            Self::Asn => fields::ASN_FIELDS,
            Self::Anonymity => fields::ANONYMITY_FIELDS,
        }
    }

    fn is_in(self, record: &Record<'_>) -> bool {
        match self {
            Self::Country => fields::country_of(record).is_some(),
            Self::Asn => fields::asn_of(record).is_some(),
            Self::Anonymity => fields::has_flags(record),
        }
    }
}

impl fmt::Display for TableRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a database can not be used. Every message names the role, so that the right setting is corrected.
#[derive(Debug, thiserror::Error)]
pub enum OpenTableError {
    /// Not this format, or damaged.
    #[error("the {role} database is not a complete MaxMind DB file (.mmdb); download it again")]
    NotMaxMind {
        /// Which database.
        role: TableRole,
        /// What the reader found.
        source: MaxMindDbError,
    },
    /// The right format, the wrong content.
    #[error("the {role} database (type `{database_type}`) has no {wanted}; give a database that has")]
    NoField {
        /// Which database.
        role: TableRole,
        /// The type it says it is.
        database_type: String,
        /// The fields of which one is needed.
        wanted: &'static str,
    },
}

/// The bytes of the user's databases; those that are absent are answered by the next table.
#[derive(Clone, Default)]
pub struct UserFiles {
    /// GeoLite2 / GeoIP2 Country or City, DB-IP Country or City, IPinfo.
    pub country: Option<Vec<u8>>,
    /// GeoLite2 ASN, GeoIP2 ISP, DB-IP ASN, IPinfo.
    pub asn: Option<Vec<u8>>,
    /// GeoIP2 Anonymous IP, IPinfo privacy.
    pub anonymity: Option<Vec<u8>>,
}

impl fmt::Debug for UserFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(Vec::len);
        f.debug_struct("UserFiles")
            .field("country_bytes", &len(&self.country))
            .field("asn_bytes", &len(&self.asn))
            .field("anonymity_bytes", &len(&self.anonymity))
            .finish()
    }
}

/// What the user's databases say about an address; absent where they say nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct UserFacts {
    pub(crate) asn: Option<u32>,
    pub(crate) country: Option<Country>,
    pub(crate) kind: Option<NetworkKind>,
    /// Whether a database of anonymity was asked: then no flag means that the address is no VPN and no Tor exit.
    pub(crate) anonymity_asked: bool,
}

/// The user's databases, opened.
pub struct UserTables {
    country: Option<Reader<Vec<u8>>>,
    asn: Option<Reader<Vec<u8>>>,
    anonymity: Option<Reader<Vec<u8>>>,
    names: Names,
}

impl UserTables {
    /// Opens databases and checks that each has the fields of its role. Walks the autonomous system database once
    /// for its names: up to some hundred milliseconds, so reload on a thread that may wait.
    ///
    /// # Errors
    /// Names the first database that is damaged or has other content.
    pub fn from_bytes(files: UserFiles) -> Result<Self, OpenTableError> {
        let asn = open(TableRole::Asn, files.asn)?;
        Ok(Self {
            country: open(TableRole::Country, files.country)?,
            anonymity: open(TableRole::Anonymity, files.anonymity)?,
            names: asn.as_ref().map(Names::collect).unwrap_or_default(),
            asn,
        })
    }

    /// Whether there is any database.
    pub const fn is_empty(&self) -> bool {
        self.country.is_none() && self.asn.is_none() && self.anonymity.is_none()
    }

    /// When the oldest of the databases was built, by its own word; nothing when there is none.
    pub fn built(&self) -> Option<Timestamp> {
        [&self.country, &self.asn, &self.anonymity]
            .into_iter()
            .flatten()
            .map(|reader| Timestamp::from_seconds(reader.metadata().build_epoch))
            .min()
    }

    /// The name of an autonomous system, if the database has one.
    pub fn organisation_name(&self, asn: u32) -> Option<&str> {
        self.names.get(asn)
    }

    /// Facts of a public address.
    pub(crate) fn facts_of(&self, address: IpAddr) -> UserFacts {
        let address = canonical(address);
        let country = lookup(self.country.as_ref(), address);
        let asn = lookup(self.asn.as_ref(), address);
        let anonymity = lookup(self.anonymity.as_ref(), address);
        let flagged = anonymity.as_ref().and_then(fields::anonymity_of);
        UserFacts {
            country: country.as_ref().and_then(fields::country_of),
            asn: asn.as_ref().and_then(fields::asn_of),
            kind: flagged.or_else(|| [&asn, &country].into_iter().flatten().find_map(fields::user_type_of)),
            anonymity_asked: self.anonymity.is_some(),
        }
    }
}

impl fmt::Debug for UserTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = |reader: &Option<Reader<Vec<u8>>>| {
            reader.as_ref().map(|reader| reader.metadata().database_type.clone())
        };
        f.debug_struct("UserTables")
            .field("country", &kind(&self.country))
            .field("asn", &kind(&self.asn))
            .field("anonymity", &kind(&self.anonymity))
            .field("built", &self.built())
            .finish_non_exhaustive()
    }
}

fn lookup(reader: Option<&Reader<Vec<u8>>>, address: IpAddr) -> Option<Record<'_>> {
    reader?.lookup(address).ok().filter(|record| record.has_data())
}

fn open(role: TableRole, bytes: Option<Vec<u8>>) -> Result<Option<Reader<Vec<u8>>>, OpenTableError> {
    let Some(bytes) = bytes else { return Ok(None) };
    let broken = |source| OpenTableError::NotMaxMind { role, source };
    let reader = Reader::from_source(bytes).map_err(broken)?;
    let mut found = false;
    for record in reader.networks(maxminddb::WithinOptions::default()).map_err(broken)?.take(SAMPLED) {
        if role.is_in(&record.map_err(broken)?) {
            found = true;
            break;
        }
    }
    if found {
        return Ok(Some(reader));
    }
    let database_type = reader.metadata().database_type.chars().take(80).collect();
    Err(OpenTableError::NoField { role, database_type, wanted: role.fields() })
}
