//! `tokenwatch top`: keys as they are at the moment, from the admin API of a running server.
//!
//! * `state`: what is shown and what the keyboard does to it, as values;
//!   `draw`: the picture of a state; `plain`: the same as text.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokenwatch_console::api::shapes::Live;
use tokenwatch_model::time::SECOND;
use tokio::signal::unix::{SignalKind, signal};

use super::key::parse_span_arg;
use crate::admin_api::{AskError, Server, url_of};
use crate::load::load;
use crate::state::LOCAL_TOKEN;
use crate::{Common, output};

mod draw;
mod plain;
mod state;
#[cfg(test)]
mod tests;

use state::{Input, Top};

/// `tokenwatch top …`
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print the moment once and end; so does --json, and an output that is no terminal
    #[arg(long)]
    once: bool,
    /// Time between two looks, such as 500ms
    #[arg(long, value_name = "SPAN", default_value = "1s", value_parser = parse_span_arg)]
    interval: u64,
    /// Address of the admin API [default: the configured one on this machine]
    #[arg(long, env = "TOKENWATCH_ADMIN_URL")]
    url: Option<String>,
    /// File with an admin token [default: the one that a server on the same state directory writes]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// What is looked at.
const LIVE: &str = "/api/v1/live?limit=1000";
/// How long a key press may wait.
const FRAME: Duration = Duration::from_millis(100);

pub(crate) fn run(common: &Common, args: &Args) -> anyhow::Result<ExitCode> {
    let url = match &args.url {
        Some(url) => url.clone(),
        None => url_of(load(common)?.config.admin.listen),
    };
    let is_local = args.token_file.is_none();
    let token_file = args.token_file.clone().unwrap_or_else(|| common.state_dir().join(LOCAL_TOKEN));
    let server = Server::new(&url, token_file, is_local)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if args.once || common.json || !output::is_terminal() {
        let live = runtime.block_on(server.get(LIVE))?;
        if common.json {
            output::json(&live)?;
        } else {
            output::line(&plain::describe(&live));
        }
        return Ok(ExitCode::SUCCESS);
    }
    // Fast enough for any eye, slow enough for any server.
    let interval = Duration::from_micros(args.interval.clamp(SECOND / 10, 3_600 * SECOND));
    watch(runtime, server, interval)?;
    Ok(ExitCode::SUCCESS)
}

enum News {
    Looked(Result<Box<Live>, AskError>),
    /// The process was told to end.
    Stop,
}

fn watch(runtime: tokio::runtime::Runtime, server: Server, interval: Duration) -> anyhow::Result<()> {
    let address = server.address().to_owned();
    let (tell, news) = channel();
    std::thread::Builder::new()
        .name("look".to_owned())
        .spawn(move || runtime.block_on(look_on(&server, interval, &tell)))?;
    // Also puts a hook in place that restores the terminal before a panic is told.
    let mut terminal = ratatui::try_init().context("the terminal can not be used; try --once")?;
    let _restore = Restore;
    let mut top = Top::new(address, interval);
    let mut looked = Instant::now();
    loop {
        if !take_news(&news, &mut top, &mut looked) {
            return Ok(());
        }
        top.silent_s = looked.elapsed().as_secs();
        terminal.draw(|frame| draw::draw(frame, &mut top))?;
        if event::poll(FRAME)?
            && let Event::Key(key) = event::read()?
            && let Some(input) = input_of(key)
            && !top.press(input)
        {
            return Ok(());
        }
    }
}

/// Gives the terminal back, however the loop ends.
struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Takes what came meanwhile; false when it is time to end.
fn take_news(news: &Receiver<News>, top: &mut Top, looked: &mut Instant) -> bool {
    for news in news.try_iter() {
        match news {
            News::Looked(Ok(live)) => {
                *looked = Instant::now();
                top.take(*live);
            }
            News::Looked(Err(error)) => top.fail(error.to_string()),
            News::Stop => return false,
        }
    }
    true
}

/// Looks until nobody listens.
async fn look_on(server: &Server, interval: Duration, tell: &Sender<News>) {
    let (Ok(mut terminate), Ok(mut hangup)) = (signal(SignalKind::terminate()), signal(SignalKind::hangup()))
    else {
        let _ = tell.send(News::Stop);
        return;
    };
    loop {
        let look = async {
            let looked = server.get(LIVE).await.map(Box::new);
            let is_heard = tell.send(News::Looked(looked)).is_ok();
            tokio::time::sleep(interval).await;
            is_heard
        };
        let goes_on = tokio::select! {
            is_heard = look => is_heard,
            _ = terminate.recv() => false,
            _ = hangup.recv() => false,
        };
        if !goes_on {
            let _ = tell.send(News::Stop);
            return;
        }
    }
}

fn input_of(key: KeyEvent) -> Option<Input> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    // In raw mode the terminal sends Ctrl-C as a key.
    if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
        return Some(Input::Quit);
    }
    Some(match key.code {
        KeyCode::Char('q') | KeyCode::Esc => Input::Quit,
        KeyCode::Char('s') => Input::Sort,
        KeyCode::Char('p' | ' ') => Input::Pause,
        KeyCode::Up | KeyCode::Char('k') => Input::Up(1),
        KeyCode::Down | KeyCode::Char('j') => Input::Down(1),
        KeyCode::PageUp => Input::Up(10),
        KeyCode::PageDown => Input::Down(10),
        KeyCode::Home => Input::Up(usize::MAX),
        KeyCode::End => Input::Down(usize::MAX),
        _ => return None,
    })
}
