//! Tests of `client`.

use proptest::prelude::*;

use super::*;

#[track_caller]
fn check(agent: &str, family: &str, version: &str, runtime: &str, os: &str) {
    let found = client(Some(agent), |_| None);
    assert_eq!(
        (found.family.as_str(), found.version.as_str(), found.runtime.as_str(), found.os.as_str(), found.tls),
        (family, version, runtime, os, 0),
        "{agent}"
    );
}

#[test]
fn official_sdks_are_known() {
    check("OpenAI/Python 1.52.0", "openai-python", "1.52.0", "", "");
    check("AsyncOpenAI/Python 1.52.0", "openai-python", "1.52.0", "", "");
    check("AzureOpenAI/Python 1.52.0", "openai-python", "1.52.0", "", "");
    check("AsyncAzureOpenAI/Python 1.52.0", "openai-python", "1.52.0", "", "");
    check("OpenAI/JS 4.77.0", "openai-typescript", "4.77.0", "", "");
    check("OpenAI/Go 1.2.0", "openai-go", "1.2.0", "", "");
    check("OpenAI/Java 2.0.0", "openai-java", "2.0.0", "", "");
    check("Anthropic/Python 0.121.0", "anthropic-python", "0.121.0", "", "");
    check("AsyncAnthropic/Python 0.121.0", "anthropic-python", "0.121.0", "", "");
    check("AnthropicBedrock/Python 0.121.0", "anthropic-python", "0.121.0", "", "");
    check("Anthropic/JS 0.39.0", "anthropic-typescript", "0.39.0", "", "");
    check("Anthropic/Ruby 1.0.0", "anthropic-ruby", "1.0.0", "", "");
    check("OpenAI/Brainfuck 1", "openai", "Brainfuck", "", "");
}

#[test]
fn http_libraries_and_tools_are_known() {
    check("Python/3.11 aiohttp/3.9.5", "aiohttp", "3.9.5", "cpython 3.11", "");
    check("python-requests/2.31.0", "python-requests", "2.31.0", "", "");
    check("python-httpx/0.27.0", "httpx", "0.27.0", "", "");
    check("python-urllib3/2.2.1", "urllib3", "2.2.1", "", "");
    check("Python-urllib/3.10", "urllib", "3.10", "cpython 3.10", "");
    check("curl/8.5.0", "curl", "8.5.0", "", "");
    check("Wget/1.21.4", "wget", "1.21.4", "", "");
    check("Go-http-client/1.1", "go-http-client", "1.1", "", "");
    check("axios/1.7.2", "axios", "1.7.2", "", "");
    check("node-fetch/1.0 (+https://github.com/bitinn/node-fetch)", "node-fetch", "1.0", "", "");
    check("node", "undici", "", "", "");
    check("undici", "undici", "", "", "");
    check("okhttp/4.12.0", "okhttp", "4.12.0", "", "");
    check("Java/17.0.1", "java", "17.0.1", "java 17", "");
    check("Java-http-client/21.0.2", "java", "21.0.2", "java 21", "");
    check("Apache-HttpClient/4.5.13 (Java/11.0.2)", "java", "4.5.13", "java 11", "");
    check("litellm/1.50.2", "litellm", "1.50.2", "", "");
    check("langchainjs-openai/0.3.1", "langchain", "0.3.1", "", "");
    check("langchain-anthropic/0.2.0", "langchain", "0.2.0", "", "");
    check("Deno/1.46.3", "deno", "1.46.3", "", "");
    check("claude-cli/1.0.0 (external, cli)", "claude-cli", "1.0.0", "", "");
    check("PostmanRuntime/7.36.0", "postman", "7.36.0", "", "");
    check(
        "Boto3/1.28.1 md/Botocore#1.31.1 ua/2.0 os/linux#5.10.0 md/arch#x86_64 lang/python#3.10.9 md/pyimpl#CPython",
        "boto3",
        "1.28.1",
        "cpython 3.10",
        "linux",
    );
}

#[test]
fn browsers_and_bots_are_known() {
    let windows = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)";
    check(&format!("{windows} Chrome/126.0.0.0 Safari/537.36"), "browser", "chrome 126", "", "windows");
    check(
        &format!("{windows} Chrome/126.0.0.0 Safari/537.36 Edg/126.0.2592.61"),
        "browser",
        "edge 126",
        "",
        "windows",
    );
    check(
        "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
        "browser",
        "firefox 127",
        "",
        "linux",
    );
    check(
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15",
        "browser",
        "safari 17",
        "",
        "macos",
    );
    check(
        "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36",
        "browser",
        "chrome 126",
        "",
        "android",
    );
    check("Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X)", "browser", "", "", "ios");
    check(
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "bot",
        "googlebot",
        "",
        "",
    );
    check("CCBot/2.0", "bot", "ccbot", "", "");
}

#[test]
fn unknown_clients_are_their_first_product() {
    check("MyService/2.3 (prod)", "myservice", "2.3", "", "");
    check("my service", "my", "", "", "");
    check("", "", "", "", "");
    check("   ", "", "", "", "");
    check("((((", "", "", "", "");
    check("/1.0", "", "1.0", "", "");
    check(&"A".repeat(100), &"a".repeat(32), "", "", "");
    check("Ünïcode/1.0\u{7f}\u{1}", "ncode", "1.0", "", "");
}

#[test]
fn sdk_headers_complete_the_picture() {
    let headers = |name: &str| match name {
        "x-stainless-lang" => Some("python"),
        "x-stainless-package-version" => Some("1.52.0"),
        "x-stainless-runtime" => Some("CPython"),
        "x-stainless-runtime-version" => Some("3.12.4"),
        "x-stainless-os" => Some("Linux"),
        "x-stainless-arch" => Some("x64"),
        _ => None,
    };
    let found = client(Some("OpenAI/Python 1.52.0"), headers);
    assert_eq!((found.family.as_str(), found.version.as_str()), ("openai-python", "1.52.0"));
    assert_eq!((found.runtime.as_str(), found.os.as_str()), ("cpython 3.12", "linux x64"));
    // Without a user agent the headers alone must do; a user agent's own word is kept.
    let found = client(None, headers);
    assert_eq!((found.family.as_str(), found.version.as_str()), ("stainless-python", "1.52.0"));
    let found = client(Some("MyApp/9"), headers);
    assert_eq!((found.family.as_str(), found.version.as_str()), ("myapp", "9"));
    assert_eq!(client(None, |_| None), Client::default());
}

#[test]
fn runtimes_keep_the_part_of_the_version_that_lasts() {
    let check = |name, version, want: &str| assert_eq!(runtime(name, version), want);
    check("node", "v22.3.0", "node 22");
    check("CPython", "3.12.4", "cpython 3.12");
    check("CPython", "3.12", "cpython 3.12");
    check("Deno", "1.46.3", "deno 1");
    check("PyPy", "7.3.1", "pypy 7.3");
    check("browser:chrome", "", "browser:chrome");
    check("go", "go1.22.1", "go go1.22");
}

proptest! {
    #[test]
    fn any_headers_give_bounded_fields(agent in any::<Option<String>>(), header in any::<String>()) {
        let found = client(agent.as_deref(), |_| Some(&header));
        for field in [&found.family, &found.version, &found.runtime, &found.os] {
            prop_assert!(field.len() <= FIELD_LEN_MAX && field.chars().all(|c| c == ' ' || c.is_ascii_graphic()));
        }
        prop_assert!(!found.family.chars().any(|c| c.is_ascii_uppercase()));
    }
}
