//! What kind of software a client family is that a key has never used.
//!
//! A program that calls a language model for its owner mostly does so with the provider's SDK, an agent or a framework,
//! and so does the next one. Published thefts came by plain HTTP libraries, command lines and browsers, or did not say
//! what they were. The shares are stated assumptions: of honest newcomers with a family that is new to their key one in
//! four uses such a tool, one in eight where people hold the key, because what joins them is mostly a service; of thieves
//! seven in ten. A family that the key uses itself says nothing.

use crate::math::ln;

/// General-purpose software, as families are called; sorted.
const TOOLS: [&str; 26] = [
    "aiohttp",
    "axios",
    "bot",
    "browser",
    "curl",
    "dart",
    "deno",
    "fasthttp",
    "go-http-client",
    "got",
    "guzzle",
    "httpie",
    "httpx",
    "insomnia",
    "java",
    "libwww-perl",
    "node-fetch",
    "okhttp",
    "postman",
    "python-requests",
    "python-urllib3",
    "reqwest",
    "undici",
    "urllib",
    "urllib3",
    "wget",
];

const TOOL_THIEVES: f64 = 0.7;
const TOOL_HONEST: f64 = 0.25;
const TOOL_BESIDE_PEOPLE: f64 = 0.125;

/// Whether a family is general-purpose software; software that does not say what it is counts as such.
pub(crate) fn is_tool(family: &str) -> bool {
    family.is_empty() || TOOLS.binary_search(&family).is_ok()
}

/// Evidence in a family that is new to the key, in nats; `people` is how much the key is one that people hold.
pub(crate) fn nats(family: &str, people: f64) -> f64 {
    let honest = (1.0 - people) * TOOL_HONEST + people * TOOL_BESIDE_PEOPLE;
    if is_tool(family) { ln(TOOL_THIEVES / honest) } else { ln((1.0 - TOOL_THIEVES) / (1.0 - honest)) }
}

/// The evidence in words.
pub(crate) const fn describe(nats: f64) -> &'static str {
    if nats > 0.0 {
        "calls with a general-purpose tool, as thieves mostly do"
    } else {
        "calls with software made for it, as honest workloads mostly do"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_sorted_and_sdks_are_none() {
        assert!(TOOLS.is_sorted());
        assert!(is_tool("") && is_tool("curl") && is_tool("browser"));
        assert!(!is_tool("openai-python") && !is_tool("claude-cli") && !is_tool("langchain"));
    }

    #[test]
    fn an_honest_newcomer_gains_nothing_on_average() {
        for (people, tools) in [(0.0, TOOL_HONEST), (1.0, TOOL_BESIDE_PEOPLE)] {
            let ratio = |family| libm::exp(nats(family, people));
            assert!((tools * ratio("curl") + (1.0 - tools) * ratio("openai-python") - 1.0).abs() < 1e-9);
        }
    }
}
