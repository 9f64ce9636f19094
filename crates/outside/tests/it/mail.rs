//! Mail servers: one of a few lines whose every answer is scripted, with and without TLS; and, where Python has it,
//! aiosmtpd (`TOKENWATCH_SMTPD_PYTHON` names another Python).

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokenwatch_model::alert::{Failure, Message};
use tokenwatch_model::secret::Secret;
use tokenwatch_outside::{Carrier, MailServer, MailTls};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use crate::server::{Stream, certificates, once, try_send};

fn message() -> Message {
    Message::Mail {
        subject: "[TokenWatch] HIGH contained: newcomer – search-prod".to_owned(),
        text: "What happened\n.a line that begins with a dot\n  ×1,100 for a stranger\n".to_owned(),
        id: "inc_000000000w01-17".to_owned(),
        thread: "inc_000000000w01".to_owned(),
    }
}

fn server(port: u16, tls: MailTls, login: Option<(&str, &str)>) -> MailServer {
    MailServer {
        host: "localhost".to_owned(),
        port,
        tls,
        login: login.map(|(user, password)| (user.to_owned(), Secret::new(password))),
        from: "TokenWatch <tokenwatch@example.com>".to_owned(),
        to: vec!["ops@example.com".to_owned(), "Second <second@example.com>".to_owned()],
    }
}

/// Speaks SMTP; a command that begins with `fails` is answered with `with`.
async fn speak(stream: Box<dyn Stream>, fails: &'static str, with: &'static str) -> Vec<String> {
    let mut stream = BufReader::new(stream);
    let mut said = Vec::new();
    let mut in_data = false;
    stream.write_all(b"220 mail.example ESMTP\r\n").await.unwrap();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return said;
        }
        let line = line.trim_end_matches("\r\n").to_owned();
        let answer = match line.split(' ').next().unwrap() {
            "." if in_data => {
                in_data = false;
                Some("250 taken\r\n")
            }
            _ if in_data => None,
            _ if !fails.is_empty() && line.starts_with(fails) => Some(with),
            "EHLO" => Some("250-mail.example\r\n250-8BITMIME\r\n250 AUTH PLAIN\r\n"),
            "AUTH" => Some("235 welcome\r\n"),
            "DATA" => {
                in_data = true;
                Some("354 go on\r\n")
            }
            "QUIT" => Some("221 bye\r\n"),
            _ => Some("250 ok\r\n"),
        };
        said.push(line);
        if let Some(answer) = answer {
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn an_email_arrives_whole_in_the_thread_of_its_incident() {
    let (address, said) = once(None, |stream| speak(stream, "", "")).await;
    let carrier = Carrier::Mail(Box::new(server(address.port(), MailTls::Off, None)));
    try_send(carrier, &message(), None).await.unwrap();
    let said = said.await.unwrap().unwrap();
    let has = |line: &str| assert!(said.iter().any(|have| have == line), "no {line:?} in {said:#?}");
    has("MAIL FROM:<tokenwatch@example.com>");
    has("RCPT TO:<ops@example.com>");
    has("RCPT TO:<second@example.com>");
    has("Message-ID: <inc_000000000w01-17@example.com>");
    has("In-Reply-To: <inc_000000000w01@example.com>");
    has("References: <inc_000000000w01@example.com>");
    assert!(said.iter().any(|line| line.starts_with("..a line that")), "{said:#?}");
}

#[tokio::test]
async fn over_tls_with_a_password() {
    let (ca, tls) = certificates();
    let (address, said) = once(Some(tls), |stream| speak(stream, "", "")).await;
    let login = Some(("user", "pass-word"));
    let carrier = Carrier::Mail(Box::new(server(address.port(), MailTls::Implicit, login)));
    try_send(carrier, &message(), Some(&ca)).await.unwrap();
    // Base64 of "\0user\0pass-word".
    assert!(said.await.unwrap().unwrap().contains(&"AUTH PLAIN AHVzZXIAcGFzcy13b3Jk".to_owned()));
}

#[tokio::test]
async fn answers_mean_what_their_code_says() {
    for (fails, with, want) in [
        ("RCPT", "550 no such user\r\n", Failure::Rejected),
        ("RCPT", "450 later\r\n", Failure::Unreachable),
        ("MAIL", "451 later\r\n", Failure::Unreachable),
        ("AUTH", "535 pass-word is wrong\r\n", Failure::Unreachable),
    ] {
        let (address, _said) = once(None, move |stream| speak(stream, fails, with)).await;
        let login = Some(("user", "pass-word"));
        let carrier = Carrier::Mail(Box::new(server(address.port(), MailTls::Off, login)));
        let error = try_send(carrier, &message(), None).await.unwrap_err();
        assert_eq!(error.failure, want, "{with}: {error}");
        assert!(!error.what.contains("pass-word"), "{error}");
    }
    // A server that does not offer STARTTLS gets nothing.
    let (address, said) = once(None, |stream| speak(stream, "", "")).await;
    let carrier = Carrier::Mail(Box::new(server(address.port(), MailTls::StartTls, None)));
    assert_eq!(try_send(carrier, &message(), None).await.unwrap_err().failure, Failure::Unreachable);
    assert!(!said.await.unwrap().unwrap().iter().any(|line| line.starts_with("MAIL")));
}

/// Ends the process when the test does.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_real_mail_server_takes_it_where_there_is_one() {
    let python = std::env::var("TOKENWATCH_SMTPD_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let has = Command::new(&python).args(["-c", "import aiosmtpd"]).stderr(Stdio::null()).status();
    if !has.is_ok_and(|status| status.success()) {
        return;
    }
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join("mail");
    let mut command = Command::new(&python);
    command.args(["-m", "aiosmtpd", "-n", "-l", &address.to_string(), "-c", "aiosmtpd.handlers.Mailbox"]);
    let _process = Process(command.arg(&kept).stderr(Stdio::null()).spawn().unwrap());
    let started = Instant::now();
    while std::net::TcpStream::connect(address).is_err() {
        assert!(started.elapsed() < Duration::from_secs(30), "aiosmtpd does not start");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let carrier = Carrier::Mail(Box::new(server(address.port(), MailTls::Off, None)));
    try_send(carrier, &message(), None).await.unwrap();
    let file = std::fs::read_dir(kept.join("new")).unwrap().next().unwrap().unwrap();
    let text = std::fs::read_to_string(file.path()).unwrap();
    assert!(text.contains("Message-ID: <inc_000000000w01-17@example.com>"), "{text}");
}
