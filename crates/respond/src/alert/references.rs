//! What the field calls it: MITRE ATLAS, OWASP Top 10 for LLM Applications, NIST AI RMF.
//!
//! Names of ATLAS are those of its data, version 5.6.0 (that of AML.T0006 could not be verified); of OWASP those of the
//! list of 2025. NIST's subcategories are cited by number, as other works transcribe AI 100-1. `docs/standards.md` says
//! more.

use serde::Serialize;

/// The version of the ATLAS data that the names are from.
pub const ATLAS_VERSION: &str = "5.6.0";

/// What a rule is called and cites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cites {
    /// One line for people.
    pub title: &'static str,
    /// MITRE ATLAS techniques.
    pub atlas: &'static [&'static str],
    /// OWASP Top 10 for LLM Applications.
    pub owasp: &'static [&'static str],
    /// NIST AI RMF subcategories.
    pub nist: &'static [&'static str],
}

/// What the findings of an alert cite.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct References {
    /// Rules, by id.
    pub rules: Vec<Reference>,
    /// MITRE ATLAS techniques.
    pub mitre_atlas: Vec<Reference>,
    /// OWASP Top 10 for LLM Applications.
    pub owasp_llm: Vec<Reference>,
    /// NIST AI RMF subcategories.
    pub nist_ai_rmf: Vec<Reference>,
}

/// An id and its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reference {
    /// Id.
    pub id: String,
    /// Name; empty when it has none.
    pub name: &'static str,
}

/// Techniques of MITRE ATLAS that rules cite.
const ATLAS: &[(&str, &str)] = &[
    ("AML.T0006", "Active Scanning"),
    ("AML.T0012", "Valid Accounts"),
    ("AML.T0013", "Discover AI Model Ontology"),
    ("AML.T0014", "Discover AI Model Family"),
    ("AML.T0024", "Exfiltration via AI Inference API"),
    ("AML.T0029", "Denial of AI Service"),
    ("AML.T0034", "Cost Harvesting"),
    ("AML.T0040", "AI Model Inference API Access"),
    ("AML.T0054", "LLM Jailbreak"),
    ("AML.T0055", "Unsecured Credentials"),
    ("AML.T0057", "LLM Data Leakage"),
    ("AML.T0075", "Cloud Service Discovery"),
];

/// The OWASP Top 10 for LLM Applications, 2025.
const OWASP: &[(&str, &str)] = &[
    ("LLM01:2025", "Prompt Injection"),
    ("LLM02:2025", "Sensitive Information Disclosure"),
    ("LLM03:2025", "Supply Chain"),
    ("LLM10:2025", "Unbounded Consumption"),
];

/// The references of rules, each once, in the order in which they are met.
pub fn of<'a>(rules: impl Iterator<Item = &'a str>, cites: &dyn Fn(&str) -> Option<Cites>) -> References {
    let mut all = References::default();
    for rule in rules {
        let Some(cited) = cites(rule) else { continue };
        add(&mut all.rules, &[rule], &[(rule, cited.title)]);
        add(&mut all.mitre_atlas, cited.atlas, ATLAS);
        add(&mut all.owasp_llm, cited.owasp, OWASP);
        add(&mut all.nist_ai_rmf, cited.nist, &[]);
    }
    all
}

fn add(list: &mut Vec<Reference>, ids: &[&str], names: &[(&str, &'static str)]) {
    for id in ids {
        if !list.iter().any(|have| have.id == *id) {
            let name = names.iter().find(|(known, _)| known == id).map_or("", |(_, name)| name);
            list.push(Reference { id: (*id).to_owned(), name });
        }
    }
}
