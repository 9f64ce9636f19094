//! The one list of thefts: the demo, the simulator and the evaluation share its names.

/// A kind of theft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Theft {
    /// A checker finds out whether the key works, and nothing more.
    Validation,
    /// A list with the key is passed on: checkers come again and again from elsewhere.
    Recheckers,
    /// As many calls as the provider lets through, for three hours.
    SmashAndGrab,
    /// A proxy sells access to many end users.
    Resale,
    /// Coding agents of several people run on the key.
    AgentSessions,
    /// The dearest model at the victim's own rate.
    ModelUpgrade,
    /// A few people share the key quietly for weeks.
    QuietSharing,
    /// A few calls an hour while the victim sleeps.
    OffHours,
    /// Resale through forty networks that take turns.
    Crowd,
    /// Somebody on the victim's own machine, with other software.
    InsideBurst,
    /// A copy of the victim in every respect: the control that no detector can find.
    Mimic,
    /// Which models may the key use? Dozens of refused calls in seconds.
    ModelSweep,
    /// Resale in a burst from a hosting network.
    BurstResale,
    /// A third on top of the victim's rate for two days.
    LowAndSlow,
    /// The dearest model, from the victim's own country.
    DearestNear,
    /// Five tiny calls to see what the key can do.
    Recon,
    /// A key nobody uses any more, used.
    OrphanRevived,
    /// Only the country tells the thief from the victim.
    NewCountry,
    /// The dearest prompts from inside the victim's region.
    MaxCost,
    /// Growth so slow that a baseline follows it.
    SlowRamp,
    /// A mimic of rate, mix and software, from a network new to the key.
    MimicNewNetwork,
    /// A mimic in the victim's region with its software, with prompts of its own.
    MimicOwnPrompts,
    /// A mimic in the victim's region with its prompts too.
    MimicVictimsPrompts,
}

/// How hard a theft is to tell from its victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TheftGroup {
    /// Described by reports, of any loudness; not part of the reference fifteen.
    Documented,
    /// Loud: several things about it are new.
    Loud,
    /// Careful: the victim's software, one thing is new.
    Careful,
    /// Next to nothing is new.
    Mimic,
}

impl TheftGroup {
    /// The word used in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Documented => "documented",
            Self::Loud => "loud",
            Self::Careful => "careful",
            Self::Mimic => "mimic",
        }
    }
}

/// What is said of a theft.
struct Entry {
    theft: Theft,
    name: &'static str,
    group: TheftGroup,
    title: &'static str,
    description: &'static str,
    source: &'static str,
}

const REFERENCE_SOURCE: &str = "reference evaluation; rates assumed";

const CATALOGUE: [Entry; 23] = [
    Entry {
        theft: Theft::Validation,
        name: "validation",
        group: TheftGroup::Documented,
        title: "validation only",
        description: "one checker, a handful of calls in two seconds, from a hosting or VPN address",
        source: "MITRE ATLAS AML.CS0030; code of public key checkers",
    },
    Entry {
        theft: Theft::Recheckers,
        name: "recheckers",
        group: TheftGroup::Documented,
        title: "re-checkers of a passed-on list",
        description: "a checker in 3 to 8 visits over five days, each from another network",
        source: "rotating-canary write-up, 2026; code of public key checkers",
    },
    Entry {
        theft: Theft::SmashAndGrab,
        name: "smash-and-grab",
        group: TheftGroup::Documented,
        title: "smash and grab",
        description: "checked, then 20,000 calls an hour for three hours from 1 to 4 hosting addresses; 429s retried",
        source: "Sysdig, 2024: 61,000 calls in three hours",
    },
    Entry {
        theft: Theft::Resale,
        name: "resale",
        group: TheftGroup::Documented,
        title: "resale proxy",
        description: "checked, then 1,560 calls an hour for two days, growing chats, one address",
        source: "Permiso honeypot, 2024: 75,000 calls in two days; code of a public resale proxy",
    },
    Entry {
        theft: Theft::AgentSessions,
        name: "agent-sessions",
        group: TheftGroup::Documented,
        title: "agent sessions",
        description: "7 coding-agent sessions, 100 M tokens over 1 to 3 days (est.), 1 to 5 addresses",
        source: "Liu et al., arXiv 2604.08407",
    },
    Entry {
        theft: Theft::ModelUpgrade,
        name: "model-upgrade",
        group: TheftGroup::Documented,
        title: "model upgrade at the victim's own rate",
        description: "one probe, then the dearest model at 1.1 to 1.5 times the victim's rate (est.)",
        source: "reports of victims: never-used models, one probe first",
    },
    Entry {
        theft: Theft::QuietSharing,
        name: "quiet-sharing",
        group: TheftGroup::Documented,
        title: "quiet sharing, a slow leak",
        description: "5 to 15 % of the victim's rate (est.) for two weeks from homes in another country",
        source: "Permiso, 2024: 20 of 53 addresses were consumer ranges; rate assumed",
    },
    Entry {
        theft: Theft::OffHours,
        name: "off-hours",
        group: TheftGroup::Loud,
        title: "off-hours, residential",
        description: "20 to 60 calls an hour (est.) in the victim's quietest hours, three nights",
        source: "reports of victims: use at odd hours; rate assumed",
    },
    Entry {
        theft: Theft::Crowd,
        name: "crowd",
        group: TheftGroup::Loud,
        title: "crowd resale, 40 rotating networks",
        description: "1,560 calls an hour for a day (est.) from 40 networks that take turns",
        source: "Permiso, 2024: 12 networks on one key; number of networks assumed",
    },
    Entry {
        theft: Theft::InsideBurst,
        name: "inside-burst",
        group: TheftGroup::Loud,
        title: "burst from the victim's own host",
        description: "2,000 to 6,000 calls (est.) in an hour from the victim's address, other software",
        source: "assumed: a dependency or colleague on the victim's host",
    },
    Entry {
        theft: Theft::Mimic,
        name: "mimic",
        group: TheftGroup::Mimic,
        title: "perfect mimic +10 % (chance control)",
        description: "the victim's network, software, prompts, sizes and hours, 10 % on top: the control",
        source: "control",
    },
    Entry {
        theft: Theft::ModelSweep,
        name: "model-sweep",
        group: TheftGroup::Documented,
        title: "validation of many models",
        description: "20 to 120 calls, mostly 400 and 403, in 5 to 20 seconds from a hosting or VPN address",
        source: "MITRE ATLAS AML.CS0030; code of public key checkers",
    },
    Entry {
        theft: Theft::BurstResale,
        name: "burst-resale",
        group: TheftGroup::Loud,
        title: "burst resale, hosting network",
        description: "300 to 3,000 calls an hour (est.) for 1 to 6 hours (est.) from a hosting network, growing chats",
        source: REFERENCE_SOURCE,
    },
    Entry {
        theft: Theft::LowAndSlow,
        name: "low-and-slow",
        group: TheftGroup::Loud,
        title: "low-and-slow +30 % for 2 days",
        description: "30 % of the victim's rate for two days, from a network and with software of the thief's own",
        source: REFERENCE_SOURCE,
    },
    Entry {
        theft: Theft::DearestNear,
        name: "dearest-near",
        group: TheftGroup::Loud,
        title: "most expensive model, near network",
        description: "the dearest model, 20 to 200 calls an hour (est.) for 2 to 8 hours (est.), another network of the victim's country",
        source: REFERENCE_SOURCE,
    },
    Entry {
        theft: Theft::Recon,
        name: "recon",
        group: TheftGroup::Loud,
        title: "checker recon, 5 tiny calls",
        description: "models, organisation or an empty call, then three calls of one token, in at most 80 seconds (est.)",
        source: REFERENCE_SOURCE,
    },
    Entry {
        theft: Theft::OrphanRevived,
        name: "orphan-revived",
        group: TheftGroup::Loud,
        title: "orphaned key revived",
        description: "a key silent for days, then 10 to 300 calls an hour (est.) for 4 to 24 hours (est.) from anywhere",
        source: REFERENCE_SOURCE,
    },
    Entry {
        theft: Theft::NewCountry,
        name: "new-country",
        group: TheftGroup::Careful,
        title: "new country, victim's SDK+TLS+models",
        description: "the victim's SDK, TLS print, models and sizes from another country, own prompts, 20 to 100 % of its rate (est.) for 1 to 2 days (est.)",
        source: REFERENCE_SOURCE,
    },
    Entry {
        theft: Theft::MaxCost,
        name: "max-cost",
        group: TheftGroup::Careful,
        title: "max-cost calls, same region",
        description: "30,000 to 180,000 tokens in and 3,000 to 16,000 out (est.) from a new block of the victim's region, with its software and models, 20 to 120 calls an hour (est.)",
        source: REFERENCE_SOURCE,
    },
    Entry {
        theft: Theft::SlowRamp,
        name: "slow-ramp",
        group: TheftGroup::Careful,
        title: "slow ramp (poisoning), near network",
        description: "from 2 % of the victim's rate, 25 % more each day for a week or 3 % more each hour for three days, with its software, from a near network",
        source: REFERENCE_SOURCE,
    },
    Entry {
        theft: Theft::MimicNewNetwork,
        name: "mimic-new-network",
        group: TheftGroup::Careful,
        title: "mimic (rate, mix, client) from a new network",
        description: "the victim's software, models, sizes and hours at 30 to 100 % of its rate (est.) for two days, from a network new to it",
        source: REFERENCE_SOURCE,
    },
    Entry {
        theft: Theft::MimicOwnPrompts,
        name: "mimic-own-prompts",
        group: TheftGroup::Mimic,
        title: "mimic, same region and client, own prompts",
        description: "the same from a new block of the victim's region, with prompts of the thief's own",
        source: REFERENCE_SOURCE,
    },
    Entry {
        theft: Theft::MimicVictimsPrompts,
        name: "mimic-victims-prompts",
        group: TheftGroup::Mimic,
        title: "mimic, same region, victim's prompts",
        description: "the same from a new block of the victim's region, with the victim's prompts",
        source: REFERENCE_SOURCE,
    },
];

impl Theft {
    /// Every theft.
    pub const ALL: [Self; CATALOGUE.len()] = {
        let mut all = [Self::Validation; CATALOGUE.len()];
        let mut index = 0;
        while index < CATALOGUE.len() {
            all[index] = CATALOGUE[index].theft;
            index += 1;
        }
        all
    };

    /// The fifteen of the reference evaluation, in its order: eight loud ones, four careful ones, three mimics.
    pub const REFERENCE: [Self; 15] = [
        Self::BurstResale,
        Self::Crowd,
        Self::LowAndSlow,
        Self::DearestNear,
        Self::OffHours,
        Self::Recon,
        Self::OrphanRevived,
        Self::InsideBurst,
        Self::NewCountry,
        Self::MaxCost,
        Self::SlowRamp,
        Self::MimicNewNetwork,
        Self::MimicOwnPrompts,
        Self::MimicVictimsPrompts,
        Self::Mimic,
    ];

    const fn entry(self) -> &'static Entry {
        // The catalogue is in the order of the variants; a test holds it to that.
        &CATALOGUE[self as usize]
    }

    /// The word used on command lines and in reports.
    pub const fn name(self) -> &'static str {
        self.entry().name
    }

    /// The inverse of [`Theft::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|theft| theft.name() == name)
    }

    /// How hard it is to tell from the victim.
    pub const fn group(self) -> TheftGroup {
        self.entry().group
    }

    /// A heading for tables, as the reference evaluation names it.
    pub const fn title(self) -> &'static str {
        self.entry().title
    }

    /// What happens, in one line.
    pub const fn description(self) -> &'static str {
        self.entry().description
    }

    /// Where it is documented.
    pub const fn source(self) -> &'static str {
        self.entry().source
    }

    /// Days before the first call in which the victim has to be silent, and stays so.
    pub const fn silent_days(self) -> u64 {
        match self {
            Self::OrphanRevived => 3,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_is_in_order() {
        for (theft, entry) in Theft::ALL.into_iter().zip(&CATALOGUE) {
            assert_eq!((theft, theft.entry().name), (entry.theft, entry.name));
            assert_eq!(Theft::from_name(theft.name()), Some(theft));
        }
        let group = |group| Theft::REFERENCE.iter().filter(|theft| theft.group() == group).count();
        assert_eq!([TheftGroup::Loud, TheftGroup::Careful, TheftGroup::Mimic].map(group), [8, 4, 3]);
        let reference = |theft: &&Theft| theft.group() != TheftGroup::Documented;
        assert_eq!(Theft::ALL.iter().filter(reference).count(), Theft::REFERENCE.len());
    }
}
