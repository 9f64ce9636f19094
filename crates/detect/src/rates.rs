//! How often benign newcomers of each type come to the keys of one fleet, against how often the shipped tables expect them.
//!
//! The tables are assumptions about all fleets; a [`crate::Census`] counts on one. A newcomer is evidence worth `1 / rho` days
//! (see [`crate::FleetPriors`]), and the promise is that honest newcomers bring a day of it a day. So what is compared is not how many
//! came but what they would have been worth: over a type, the sum of `1 / rho` of those that came against the key-days that
//! passed. Where keys differ more than the tables know, few newcomers on quiet keys are what breaks the promise, and this
//! counts them in full; a quotient of plain counts does not.
//!
//! The quotient is drawn towards that of like types as far as the counts are few (a gamma prior on a Poisson rate, from the
//! many to the few): a fleet of which little was seen keeps the shipped rates.
//!
//! Invariants: counts of the same tables add up, in any order; a factor is positive and bounded.

use serde::{Deserialize, Serialize};

use crate::math::ln;
use crate::priors::{CLIENTS, Levels, SOURCES, TEMPLATES};

/// Keys of machines, and keys that people hold.
pub(crate) const GROUPS: usize = 2;
/// Usage known or new.
const USAGES: usize = 2;
/// Types that are told apart.
pub(crate) const CELLS: usize = SOURCES * CLIENTS * USAGES * TEMPLATES;
/// The form of what is written down.
const VERSION: u32 = 1;

/// Weight of what like types say, in newcomers.
const PRIOR: f64 = 1.5;
/// A newcomer counts for no more days than this: of what is rarer, a few counts say little.
const SPACED_MAX: f64 = 3_000.0;
/// No fleet is believed to differ by more.
const FACTORS: (f64, f64) = (0.25, 50.0);

/// Words for levels, as they are written down.
const SOURCE_WORDS: [&str; SOURCES] =
    ["known", "new_block", "new_network", "new_kind", "new_country", "new_country_and_kind"];
const CLIENT_WORDS: [&str; CLIENTS] = ["known", "new_version", "new_tls", "new_family"];
const NEW_WORDS: [&str; 2] = ["known", "new"];
const GROUP_WORDS: [&str; GROUPS] = ["machines", "people"];

/// By cell and group.
pub(crate) type Table = [[f64; GROUPS]; CELLS];

/// Where a cell stands: source, client, usage, template.
type Place = [usize; 4];

const fn place_of(cell: usize) -> Place {
    let (template, rest) = (cell % TEMPLATES, cell / TEMPLATES);
    let (usage, rest) = (rest % USAGES, rest / USAGES);
    [rest / CLIENTS, rest % CLIENTS, usage, template]
}

const fn cell_at([source, client, usage, template]: Place) -> usize {
    ((source * CLIENTS + client) * USAGES + usage) * TEMPLATES + template
}

/// The types of a cell.
pub(crate) const fn levels_of(cell: usize) -> Levels {
    let [source, client, usage, template] = place_of(cell);
    let usage = if usage == 0 { 1 } else { Levels::ANY_USAGE & !1 };
    Levels { source: 1 << source, client: 1 << client, usage, template: 1 << template }
}

/// Places of the bits that are set.
fn set(mask: u8) -> impl Iterator<Item = usize> {
    (0..8).filter(move |bit| mask >> bit & 1 == 1)
}

/// The cells that a type may be in, with the part of the type that is in each: what is not stated may be anything.
pub(crate) fn parts_of(levels: Levels) -> impl Iterator<Item = (usize, Levels)> {
    let usages = [levels.usage & 1, levels.usage & !1];
    set(levels.source).flat_map(move |source| {
        set(levels.client).flat_map(move |client| {
            (0..USAGES).filter(move |&usage| usages[usage] != 0).flat_map(move |usage| {
                set(levels.template).map(move |template| {
                    let part = Levels {
                        source: 1 << source,
                        client: 1 << client,
                        usage: usages[usage],
                        template: 1 << template,
                    };
                    (cell_at([source, client, usage, template]), part)
                })
            })
        })
    })
}

/// Sources that are alike: the key's own networks, others of their kind, those of another kind.
const fn family_of(source: usize) -> usize {
    match source {
        0 | 1 => 0,
        2 | 4 => 1,
        _ => 2,
    }
}

/// Whether a type is a newcomer: one who comes from where the key calls from, with the key's software, is not.
const fn is_newcomer([source, client, ..]: Place) -> bool {
    source != 0 || client != 0
}

/// What was counted on a fleet. Written down it is one row for each type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct FleetRates {
    /// The tables against which it was counted.
    tables: u32,
    days: [f64; GROUPS],
    expected: Box<Table>,
    met: Box<Table>,
    /// Days between such newcomers by the tables, over the newcomers that came: were the tables right for each key, as many
    /// as there were key-days.
    spaced: Box<Table>,
}

/// How much oftener than the tables say newcomers come.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Factors(Box<Table>);

impl Factors {
    /// On keys of machines and of people.
    pub(crate) fn of(&self, cell: usize) -> [f64; GROUPS] {
        self.0.get(cell).copied().unwrap_or([1.0; GROUPS])
    }
}

/// One line of what differs most, for people.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// `machines` or `people`.
    pub keys: &'static str,
    /// What is new about the newcomers: `new_network`, `new_family` and so on.
    pub source: &'static str,
    /// The same of their software.
    pub client: &'static str,
    /// Of model and endpoint.
    pub usage: &'static str,
    /// Of the prompt template.
    pub template: &'static str,
    /// Newcomers that the shipped tables expected.
    pub expected: f64,
    /// Newcomers that came.
    pub met: f64,
    /// By how much the rate is taken to differ.
    pub factor: f64,
}

/// Why what was written down can not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FleetRatesError {
    /// Days that are no number of days.
    #[error("`key_days` holds what is no number of days")]
    Days,
    /// It was counted against other tables.
    #[error(
        "`tables` is {found}, and this program has tables {ours}; count again with `tokenwatch dry-run --write-fleet-rates`"
    )]
    Tables {
        /// What the file says.
        found: u32,
        /// What the program has.
        ours: u32,
    },
    /// The file is from a later program.
    #[error("`version` is {0}; this program reads version {VERSION}")]
    Version(u32),
    /// A row is not a type, or its numbers are none.
    #[error("`newcomers` row {0}: {1}")]
    Row(usize, &'static str),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    tables: u32,
    key_days: Days,
    newcomers: Vec<Row>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Days {
    machines: f64,
    people: f64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    keys: String,
    source: String,
    client: String,
    usage: String,
    template: String,
    expected: f64,
    met: f64,
    spaced_days: f64,
}

fn word(words: &[&str], of: &str) -> Option<usize> {
    words.iter().position(|word| *word == of)
}

fn is_count(number: f64) -> bool {
    number.is_finite() && number >= 0.0
}

impl FleetRates {
    /// Nothing counted yet against some tables.
    pub(crate) fn new(tables: u32) -> Self {
        let none = || Box::new([[0.0; GROUPS]; CELLS]);
        Self { tables, days: [0.0; GROUPS], expected: none(), met: none(), spaced: none() }
    }

    /// Key-days that were counted, of machines and of people.
    pub const fn key_days(&self) -> [f64; GROUPS] {
        self.days
    }

    /// Newcomers that were counted.
    pub fn newcomers(&self) -> f64 {
        self.met.iter().flatten().sum()
    }

    /// The tables against which it was counted.
    pub(crate) const fn tables(&self) -> u32 {
        self.tables
    }

    /// Adds what was counted elsewhere against the same tables.
    pub fn add(&mut self, other: &Self) {
        let add = |mine: &mut Table, theirs: &Table| {
            mine.iter_mut().flatten().zip(theirs.iter().flatten()).for_each(|(mine, theirs)| *mine += theirs);
        };
        add(&mut self.expected, &other.expected);
        add(&mut self.met, &other.met);
        add(&mut self.spaced, &other.spaced);
        self.days.iter_mut().zip(other.days).for_each(|(mine, theirs)| *mine += theirs);
    }

    /// Lets time pass on a key: `rates` are a day's, `people` how much people hold the key.
    pub(crate) fn expect(&mut self, rates: &Table, days: f64, people: f64) {
        self.days[0] += days * (1.0 - people);
        self.days[1] += days * people;
        let expected = self.expected.iter_mut().flatten();
        expected.zip(rates.iter().flatten()).for_each(|(expected, rate)| *expected += rate * days);
    }

    /// Counts a newcomer of a type, of which one comes to its key in so many days by the tables.
    pub(crate) fn count(&mut self, cell: usize, by: [f64; GROUPS], days: f64) {
        let days = days.min(SPACED_MAX);
        for (group, by) in by.into_iter().enumerate() {
            if let (Some(met), Some(spaced)) = (self.met.get_mut(cell), self.spaced.get_mut(cell)) {
                met[group] = (met[group] + by).max(0.0);
                spaced[group] = (spaced[group] + by * days).max(0.0);
            }
        }
    }

    /// The factor of each type.
    pub(crate) fn factors(&self) -> Factors {
        let mut factors = Box::new([[1.0; GROUPS]; CELLS]);
        for (cell, factors) in factors.iter_mut().enumerate() {
            for (group, factor) in factors.iter_mut().enumerate() {
                *factor = self.factor(place_of(cell), group);
            }
        }
        Factors(factors)
    }

    /// From all sources over like ones to the one. How software and prompts go together is a habit of the fleet's, wherever
    /// its newcomers come from: where few came, the square root of that factor is where it begins.
    fn factor(&self, of: Place, group: usize) -> f64 {
        if !is_newcomer(of) {
            return 1.0;
        }
        let [source, client, usage, template] = of;
        let drawn = |towards: f64, is: &dyn Fn(Place) -> bool| {
            let cells = || (0..CELLS).filter(|&cell| is_newcomer(place_of(cell)) && is(place_of(cell)));
            // As many newcomers as would have been worth as much on keys that are all alike.
            let per_day = |cell: usize| self.expected[cell][group] / self.days[group].max(1.0);
            let met: f64 = cells().map(|cell| self.spaced[cell][group] * per_day(cell)).sum();
            let expected: f64 = cells().map(|cell| self.expected[cell][group]).sum();
            ((met + PRIOR) / (expected + PRIOR / towards)).clamp(FACTORS.0, FACTORS.1)
        };
        let is_like = |[_, c, _, t]: Place| c == client && t == template;
        let is_near = |at: Place| is_like(at) && family_of(at[0]) == family_of(source);
        let all = drawn(1.0, &is_like);
        let near = drawn(all.sqrt(), &is_near);
        let same = drawn(near, &|at| is_near(at) && at[2] == usage);
        drawn(same, &|at| at == of)
    }

    /// Types of newcomer, those first whose rates differ most, and among alike ones those of which most came or stayed away.
    pub fn differences(&self) -> Vec<Difference> {
        let factors = self.factors();
        let mut rows: Vec<Difference> = (0..CELLS * GROUPS)
            .map(|at| (at / GROUPS, at % GROUPS))
            .map(|(cell, group)| {
                let [source, client, usage, template] = place_of(cell);
                Difference {
                    keys: GROUP_WORDS[group],
                    source: SOURCE_WORDS[source],
                    client: CLIENT_WORDS[client],
                    usage: NEW_WORDS[usage],
                    template: NEW_WORDS[template],
                    expected: self.expected[cell][group],
                    met: self.met[cell][group],
                    factor: factors.of(cell)[group],
                }
            })
            .filter(|row| row.met > 0.0 || row.expected > 0.0)
            .collect();
        let differs = |row: &Difference| ln(row.factor).abs();
        let weight = |row: &Difference| (row.met - row.expected).abs();
        rows.sort_by(|a, b| differs(b).total_cmp(&differs(a)).then(weight(b).total_cmp(&weight(a))));
        rows
    }
}

impl From<FleetRates> for Written {
    fn from(rates: FleetRates) -> Self {
        let cells = (0..CELLS).filter(|&cell| is_newcomer(place_of(cell)));
        let rows = cells.flat_map(|cell| (0..GROUPS).map(move |group| (cell, group)));
        let newcomers = rows.map(|(cell, group)| {
            let [source, client, usage, template] = place_of(cell);
            Row {
                keys: GROUP_WORDS[group].to_owned(),
                source: SOURCE_WORDS[source].to_owned(),
                client: CLIENT_WORDS[client].to_owned(),
                usage: NEW_WORDS[usage].to_owned(),
                template: NEW_WORDS[template].to_owned(),
                expected: rates.expected[cell][group],
                met: rates.met[cell][group],
                spaced_days: rates.spaced[cell][group],
            }
        });
        let [machines, people] = rates.days;
        Self {
            version: VERSION,
            tables: rates.tables,
            key_days: Days { machines, people },
            newcomers: newcomers.collect(),
        }
    }
}

impl TryFrom<Written> for FleetRates {
    type Error = FleetRatesError;

    fn try_from(written: Written) -> Result<Self, FleetRatesError> {
        if written.version != VERSION {
            return Err(FleetRatesError::Version(written.version));
        }
        let mut rates = Self::new(written.tables);
        rates.days = [written.key_days.machines, written.key_days.people];
        if !rates.days.iter().all(|days| is_count(*days)) {
            return Err(FleetRatesError::Days);
        }
        for (number, row) in (1..).zip(&written.newcomers) {
            let wrong = |what| FleetRatesError::Row(number, what);
            let group = word(&GROUP_WORDS, &row.keys).ok_or(wrong("`keys` is machines or people"))?;
            let source = word(&SOURCE_WORDS, &row.source).ok_or(wrong(
                "`source` is known, new_block, new_network, new_kind, new_country or new_country_and_kind",
            ))?;
            let client = word(&CLIENT_WORDS, &row.client)
                .ok_or(wrong("`client` is known, new_version, new_tls or new_family"))?;
            let usage = word(&NEW_WORDS, &row.usage).ok_or(wrong("`usage` is known or new"))?;
            let template = word(&NEW_WORDS, &row.template).ok_or(wrong("`template` is known or new"))?;
            if ![row.expected, row.met, row.spaced_days].into_iter().all(is_count) {
                return Err(wrong("`expected`, `met` and `spaced_days` are numbers, 0 or more"));
            }
            let cell = cell_at([source, client, usage, template]);
            rates.expected[cell][group] += row.expected;
            rates.met[cell][group] += row.met;
            rates.spaced[cell][group] += row.spaced_days;
        }
        Ok(rates)
    }
}

#[cfg(test)]
mod tests;
