//! Request bodies, written directly: quicker than a tree, and the order of fields is the SDKs'.

use tokenwatch_model::provider::Dialect;

/// A tool a request offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tool {
    /// Name of the function.
    pub(crate) name: &'static str,
    /// What it does.
    pub(crate) description: &'static str,
    /// JSON schema of its parameters.
    pub(crate) schema: &'static str,
}

/// A conversation to be sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Talk<'a> {
    pub(crate) model: &'a str,
    pub(crate) system: Option<&'a str>,
    /// Turns in order, the first and every second after it by the user.
    pub(crate) turns: Vec<String>,
    pub(crate) tools: &'a [Tool],
    pub(crate) stream: bool,
    /// OpenAI only: `stream_options.include_usage`.
    pub(crate) include_usage: bool,
    pub(crate) max_tokens: Option<i64>,
    /// OpenAI only: name the limit `max_completion_tokens`, as newer SDK users do.
    pub(crate) new_limit_name: bool,
    /// As written, such as `0.2`.
    pub(crate) temperature: Option<&'a str>,
}

impl Talk<'_> {
    /// The body as JSON.
    pub(crate) fn to_json(&self, dialect: Dialect) -> Vec<u8> {
        let mut json = Writer { out: String::with_capacity(1024) };
        json.raw("{\"model\":").quoted(self.model);
        if let Some(limit) = self.max_tokens {
            let new = dialect == Dialect::OpenAi && self.new_limit_name;
            json.raw(if new { ",\"max_completion_tokens\":" } else { ",\"max_tokens\":" });
            json.raw(&limit.to_string());
        }
        match (self.system, dialect) {
            (Some(system), Dialect::Anthropic) => {
                json.raw(",\"system\":").quoted(system).raw(",\"messages\":[");
            }
            (Some(system), Dialect::OpenAi) => {
                json.raw(",\"messages\":[{\"role\":\"system\",\"content\":").quoted(system).raw("}");
            }
            (None, _) => {
                json.raw(",\"messages\":[");
            }
        }
        for (index, turn) in self.turns.iter().enumerate() {
            if index > 0 || (self.system.is_some() && dialect == Dialect::OpenAi) {
                json.raw(",");
            }
            let role = if index % 2 == 0 { "user" } else { "assistant" };
            json.raw("{\"role\":\"").raw(role).raw("\",\"content\":").quoted(turn).raw("}");
        }
        json.raw("]");
        if let Some(temperature) = self.temperature {
            json.raw(",\"temperature\":").raw(temperature);
        }
        if self.stream {
            json.raw(",\"stream\":true");
            if self.include_usage && dialect == Dialect::OpenAi {
                json.raw(",\"stream_options\":{\"include_usage\":true}");
            }
        }
        self.write_tools(&mut json, dialect);
        json.raw("}");
        json.out.into_bytes()
    }

    fn write_tools(&self, json: &mut Writer, dialect: Dialect) {
        for (index, tool) in self.tools.iter().enumerate() {
            json.raw(if index == 0 { ",\"tools\":[" } else { "," });
            let (open, schema, close) = match dialect {
                Dialect::OpenAi => {
                    ("{\"type\":\"function\",\"function\":{\"name\":", ",\"parameters\":", "}}")
                }
                Dialect::Anthropic => ("{\"name\":", ",\"input_schema\":", "}"),
            };
            json.raw(open).quoted(tool.name).raw(",\"description\":").quoted(tool.description);
            json.raw(schema).raw(tool.schema).raw(close);
        }
        if !self.tools.is_empty() {
            json.raw("]");
        }
    }
}

struct Writer {
    out: String,
}

impl Writer {
    fn raw(&mut self, text: &str) -> &mut Self {
        self.out.push_str(text);
        self
    }

    fn quoted(&mut self, text: &str) -> &mut Self {
        self.out.push('"');
        for character in text.chars() {
            match character {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                // Other control characters do not occur in texts of ours; a space keeps the JSON valid.
                c if c.is_control() => self.out.push(' '),
                c => self.out.push(c),
            }
        }
        self.out.push('"');
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const TOOL: Tool = Tool { name: "find", description: "Finds \"it\".", schema: r#"{"type":"object"}"# };

    #[track_caller]
    fn check(dialect: Dialect, want: Value) {
        let talk = Talk {
            model: "m",
            system: Some("a \"quoted\"\nline"),
            turns: vec!["one".into(), "two".into(), "three".into()],
            tools: &[TOOL],
            stream: true,
            include_usage: true,
            max_tokens: Some(9),
            new_limit_name: true,
            temperature: Some("0.2"),
        };
        assert_eq!(serde_json::from_slice::<Value>(&talk.to_json(dialect)).unwrap(), want);
    }

    #[test]
    fn bodies_are_the_dialects() {
        let turns = [
            json!({"role": "user", "content": "one"}),
            json!({"role": "assistant", "content": "two"}),
            json!({"role": "user", "content": "three"}),
        ];
        check(
            Dialect::OpenAi,
            json!({
                "model": "m", "max_completion_tokens": 9, "temperature": 0.2, "stream": true,
                "messages": [{"role": "system", "content": "a \"quoted\"\nline"}, turns[0], turns[1], turns[2]],
                "stream_options": {"include_usage": true},
                "tools": [{"type": "function", "function":
                    {"name": "find", "description": "Finds \"it\".", "parameters": {"type": "object"}}}],
            }),
        );
        check(
            Dialect::Anthropic,
            json!({
                "model": "m", "max_tokens": 9, "temperature": 0.2, "stream": true,
                "system": "a \"quoted\"\nline", "messages": turns,
                "tools": [{"name": "find", "description": "Finds \"it\".", "input_schema": {"type": "object"}}],
            }),
        );
        let bare = Talk { model: "m", turns: vec!["x".into()], ..Talk::default() };
        let want = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
        assert_eq!(serde_json::from_slice::<Value>(&bare.to_json(Dialect::OpenAi)).unwrap(), want);
    }
}
