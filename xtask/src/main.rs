//! Automation for people who work on TokenWatch: `cargo xtask <task>`.

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    xtask::run(&arguments)
}
