//! Lines of a file.

use tokenwatch_model::alert::Message;
use tokenwatch_outside::Carrier;

use crate::server::try_send;

#[tokio::test]
async fn lines_are_appended_and_half_a_line_of_the_dead_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("alerts.ndjson");
    let line = |text: &str| Message::Line(text.to_owned());
    try_send(Carrier::File(path.clone()), &line("{\"a\":1}"), None).await.unwrap();
    std::fs::write(&path, "{\"a\":1}\n{\"a\":").unwrap();
    try_send(Carrier::File(path.clone()), &line("{\"a\":2}"), None).await.unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"a\":1}\n{\"a\":\n{\"a\":2}\n");
    let nowhere = Carrier::File(dir.path().join("none/alerts.ndjson"));
    assert!(try_send(nowhere, &line("x"), None).await.is_err());
}
