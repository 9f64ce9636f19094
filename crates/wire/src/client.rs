//! What a request's headers say about the software that sent it.
//!
//! Invariant: never fails, and no field is longer than [`FIELD_LEN_MAX`]. Everything here is chosen by the
//! caller: evidence, never proof.

use smol_str::SmolStr;
use tokenwatch_model::client::Client;

#[cfg(test)]
mod tests;

/// Longest field of a client, in bytes.
pub const FIELD_LEN_MAX: usize = 32;
/// Bytes of a user agent that are looked at.
const AGENT_LEN_MAX: usize = 512;

/// Products with another name than their user agent has. All are compared in lower case.
const FAMILIES: [(&str, &str); 12] = [
    ("python-httpx", "httpx"),
    ("python-urllib3", "urllib3"),
    ("python-urllib", "urllib"),
    ("node", "undici"),
    ("apache-httpclient", "java"),
    ("java-http-client", "java"),
    ("reactornetty", "java"),
    ("guzzlehttp", "guzzle"),
    ("postmanruntime", "postman"),
    ("mozilla", "browser"),
    ("aws-cli", "boto3"),
    ("botocore", "boto3"),
];

/// Reads the client from its `User-Agent` and, for the official SDKs, their `x-stainless-*` headers.
pub fn client<'h>(user_agent: Option<&'h str>, header: impl Fn(&str) -> Option<&'h str>) -> Client {
    let agent = cut(user_agent.unwrap_or_default().trim(), AGENT_LEN_MAX);
    let mut client = read_agent(agent);
    if let Some(language) = header("x-stainless-lang") {
        read_stainless(&mut client, language, header);
    }
    client
}

/// A product of a user agent: `name/version`.
#[derive(Clone, Copy)]
struct Product<'a> {
    name: &'a str,
    version: &'a str,
}

fn products(agent: &str) -> impl Iterator<Item = Product<'_>> {
    agent.split([' ', '(', ')', ';', ',']).filter(|word| !word.is_empty()).map(|word| {
        let (name, version) = word.split_once('/').unwrap_or((word, ""));
        Product { name, version }
    })
}

fn read_agent(agent: &str) -> Client {
    let Some(first) = products(agent).next() else { return Client::default() };
    if let Some(sdk) = read_sdk(agent, first) {
        return sdk;
    }
    if let Some(bot) = products(agent).find(|product| is_bot(product.name)) {
        return named("bot", &lower(bot.name));
    }
    if first.name.eq_ignore_ascii_case("mozilla") {
        return read_browser(agent);
    }
    // `Python/3.11 aiohttp/3.9.5`: the runtime stands first.
    let second = products(agent).nth(1).filter(|second| !second.version.is_empty());
    if let (true, Some(second)) = (is_runtime(first.name), second) {
        return Client { runtime: runtime(first.name, first.version), ..read_product(second) };
    }
    let mut found = read_product(first);
    for product in products(agent).skip(1) {
        if found.runtime.is_empty() && is_runtime(product.name) {
            found.runtime = runtime(product.name, product.version);
        }
        // The form of the AWS SDKs: `os/linux#5.10`, `lang/python#3.10.9`.
        match (product.name, product.version.split_once('#').unwrap_or((product.version, ""))) {
            ("os", (system, _)) => found.os = lower(system),
            ("lang", (language, version)) => found.runtime = runtime(language, version),
            _ => {}
        }
    }
    found
}

fn read_product(product: Product<'_>) -> Client {
    let name = lower(product.name);
    let family = FAMILIES.iter().find(|(sent, _)| *sent == name).map_or(name.as_str(), |(_, family)| family);
    let family = if family.starts_with("langchain") { "langchain" } else { family };
    let mut found = named(family, product.version);
    match name.as_str() {
        "python-urllib" => found.runtime = runtime("python", product.version),
        "java" | "java-http-client" => found.runtime = runtime("java", product.version),
        _ => {}
    }
    found
}

/// `OpenAI/Python 1.52.0`, `AsyncAzureOpenAI/Python 1.52.0`, `Anthropic/JS 0.39.0`, `AnthropicBedrock/Go 1.2`.
fn read_sdk(agent: &str, first: Product<'_>) -> Option<Client> {
    let name = first.name.strip_prefix("Async").unwrap_or(first.name);
    let vendor = match name {
        "OpenAI" | "AzureOpenAI" => "openai",
        "Anthropic" | "AnthropicBedrock" | "AnthropicVertex" | "AnthropicFoundry" => "anthropic",
        _ => return None,
    };
    let language = language(first.version)?;
    let version = products(agent).nth(1).map_or("", |product| product.name);
    Some(named(&format!("{vendor}-{language}"), version))
}

fn language(name: &str) -> Option<&'static str> {
    Some(match name {
        "Python" | "python" => "python",
        "JS" | "js" | "TypeScript" => "typescript",
        "Go" | "go" => "go",
        "Java" | "java" => "java",
        "Kotlin" | "kotlin" => "kotlin",
        "Ruby" | "ruby" => "ruby",
        "CSharp" | "csharp" | "DotNet" => "csharp",
        "PHP" | "php" => "php",
        _ => return None,
    })
}

fn read_stainless<'h>(client: &mut Client, sent_language: &str, header: impl Fn(&str) -> Option<&'h str>) {
    if client.family.is_empty()
        && let Some(language) = language(sent_language)
    {
        client.family = field("stainless-", language);
    }
    if client.version.is_empty()
        && let Some(version) = header("x-stainless-package-version")
    {
        client.version = clean(version);
    }
    if let Some(name) = header("x-stainless-runtime") {
        client.runtime = runtime(name, header("x-stainless-runtime-version").unwrap_or_default());
    }
    if let Some(system) = header("x-stainless-os") {
        let architecture = lower(header("x-stainless-arch").unwrap_or_default());
        let system = lower(system);
        client.os = if architecture.is_empty() { system } else { clean(&format!("{system} {architecture}")) };
    }
}

fn read_browser(agent: &str) -> Client {
    // The last of these that occurs is the browser: all pretend to be the ones before.
    let engine = ["Safari", "Version", "Chrome", "Firefox", "OPR", "Edg"]
        .into_iter()
        .rev()
        .find_map(|name| products(agent).find(|product| product.name == name));
    let version = engine.map_or(String::new(), |product| {
        let name = match product.name {
            "Version" => "safari",
            "OPR" => "opera",
            "Edg" => "edge",
            other => &other.to_ascii_lowercase(),
        };
        format!("{name} {}", major(product.version))
    });
    let system = [
        ("Android", "android"),
        ("iPhone", "ios"),
        ("iPad", "ios"),
        ("Windows", "windows"),
        ("Macintosh", "macos"),
        ("CrOS", "chromeos"),
        ("Linux", "linux"),
    ];
    let os = system.iter().find(|(sign, _)| agent.contains(sign)).map_or("", |(_, os)| os);
    Client { os: os.into(), ..named("browser", version.trim_end()) }
}

fn is_bot(name: &str) -> bool {
    let name = lower(name);
    ["bot", "crawler", "spider"].iter().any(|sign| name.ends_with(sign)) && name != "robot"
}

fn is_runtime(name: &str) -> bool {
    ["Python", "CPython", "PyPy", "Node.js", "Deno", "Bun", "Java"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}

/// `cpython 3.12`, `node 22`: as much of the version as separates installations without changing each week.
fn runtime(name: &str, version: &str) -> SmolStr {
    let name = lower(name);
    let name = match name.as_str() {
        "python" => "cpython",
        "node.js" | "nodejs" => "node",
        other => other,
    };
    let version = version.trim_start_matches('v');
    let version = match name {
        "node" | "deno" | "bun" | "java" => major(version),
        _ => minor(version),
    };
    if version.is_empty() { clean(name) } else { clean(&format!("{name} {version}")) }
}

fn major(version: &str) -> &str {
    version.split('.').next().unwrap_or_default()
}

fn minor(version: &str) -> &str {
    version.match_indices('.').nth(1).and_then(|(at, _)| version.get(..at)).unwrap_or(version)
}

fn named(family: &str, version: &str) -> Client {
    Client { family: clean(family), version: clean(version), ..Client::default() }
}

fn field(prefix: &str, rest: &str) -> SmolStr {
    clean(&format!("{prefix}{rest}"))
}

fn lower(text: &str) -> SmolStr {
    clean(&cut(text, FIELD_LEN_MAX).to_ascii_lowercase())
}

/// Visible ASCII and spaces only, at most [`FIELD_LEN_MAX`] bytes.
fn clean(text: &str) -> SmolStr {
    let is_plain = |c: char| c.is_ascii_graphic() || c == ' ';
    if text.len() <= FIELD_LEN_MAX && text.chars().all(is_plain) {
        return text.into();
    }
    text.chars().filter(|c| is_plain(*c)).take(FIELD_LEN_MAX).collect()
}

/// The longest start of a text of at most `len` bytes.
fn cut(text: &str, len: usize) -> &str {
    let end = (0..=len.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}
