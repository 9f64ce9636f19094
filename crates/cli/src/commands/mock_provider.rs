//! `tokenwatch mock-provider`: the built-in mock provider as a server of its own, for tests.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::json;
use tokenwatch_model::secret::Secret;
use tokenwatch_testkit::provider::{self, MockConfig};

use crate::adapters::SystemClock;
use crate::output;

/// `tokenwatch mock-provider …`
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Address to listen on; port 0 lets the system choose
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Credential it accepts as an OpenAI key
    #[arg(long)]
    openai_key: Option<String>,
    /// Credential it accepts as an Anthropic key
    #[arg(long)]
    anthropic_key: Option<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(args.listen.ip().is_loopback(), "the mock provider listens on loopback only");
    let keys = args.openai_key.iter().chain(&args.anthropic_key).map(Secret::new).collect();
    let config = MockConfig { keys, clock: Some(Arc::new(SystemClock)), ..MockConfig::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener =
            tokio::net::TcpListener::bind(args.listen).await.context("the mock provider can not listen")?;
        output::json_line(&json!({ "listen": listener.local_addr()?.to_string() }))?;
        provider::serve(listener, config, async {
            // Without a signal to wait for, it runs until it is killed.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
        .await?;
        Ok(ExitCode::SUCCESS)
    })
}
