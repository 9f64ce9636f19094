//! Messages, their contents and tools: what is text, what counts for the input estimate.

use super::ParseRequestError;
use super::body::Reader;
use super::keys::Members;
use super::shape::Role;
use crate::json::Kind;

/// Tokens of an image: about what either provider counts for a large one.
const IMAGE_TOKENS: u64 = 1_600;
/// Bytes of base64 audio in a token: ten tokens a second of 16 kB/s.
const AUDIO_BYTES_PER_TOKEN: u64 = 2_000;
/// Bytes of a base64 document (PDF) in a token.
const DOCUMENT_BYTES_PER_TOKEN: u64 = 32;

/// How the bytes of a content part become tokens.
#[derive(Clone, Copy)]
enum Medium {
    Text,
    Image,
    Audio,
    Document,
}

impl Medium {
    fn from_type(name: &str) -> Self {
        match name {
            "image_url" | "input_image" | "image" | "image_file" | "computer_screenshot" => Self::Image,
            "input_audio" | "audio" | "output_audio" => Self::Audio,
            "file" | "input_file" | "document" => Self::Document,
            _ => Self::Text,
        }
    }
}

impl Reader<'_, '_> {
    /// An array of messages, or of the items of a Responses conversation.
    pub(super) fn read_messages(&mut self) -> Result<(), ParseRequestError> {
        if self.scan.peek()? != Kind::Array {
            return self.skip();
        }
        let mut step = self.scan.open_array()?;
        while self.scan.next_item(&mut step)? {
            match self.scan.peek()? {
                Kind::Object => self.read_message()?,
                _ => self.skip()?,
            }
        }
        Ok(())
    }

    fn read_message(&mut self) -> Result<(), ParseRequestError> {
        let mut role = None;
        let mut is_result = false;
        let mut members = Members::open(&mut self.scan, &["role", "content", "type", "output"])?;
        while let Some(key) = members.next(&mut self.scan)? {
            match (&*key, self.scan.peek()?) {
                ("role", Kind::String) => {
                    let name = self.scan.string()?;
                    role = Some(name.decode().map_or(Role::Unknown, |name| Role::from_name(&name)));
                }
                ("type", Kind::String) => {
                    let kind = self.scan.string()?.raw;
                    is_result = kind.ends_with("_output") || kind.ends_with("_response");
                }
                ("content" | "output", _) => self.read_content()?,
                // Calls with their arguments, reasoning and the like.
                _ => self.text_bytes += self.scan.skip()?.len() as u64,
            }
        }
        let role = role.unwrap_or(if is_result { Role::Tool } else { Role::Assistant });
        self.shape.add_message(role, &mut self.texts);
        Ok(())
    }

    /// A string, an array of strings and parts, one part, or an array of token numbers.
    pub(super) fn read_content(&mut self) -> Result<(), ParseRequestError> {
        match self.scan.peek()? {
            Kind::String => self.read_text()?,
            Kind::Object => self.read_part()?,
            Kind::Array => {
                let mut step = self.scan.open_array()?;
                while self.scan.next_item(&mut step)? {
                    self.read_content()?;
                }
            }
            Kind::Number => {
                self.scan.number()?;
                self.media_tokens += 1;
            }
            Kind::Bool | Kind::Null => self.skip()?,
        }
        Ok(())
    }

    fn read_text(&mut self) -> Result<(), ParseRequestError> {
        let text = self.scan.string()?;
        self.text_bytes += text.raw.len() as u64;
        self.texts.push(text);
        Ok(())
    }

    fn read_part(&mut self) -> Result<(), ParseRequestError> {
        let mut medium = Medium::Text;
        let mut bytes = 0;
        let mut members = Members::open(&mut self.scan, &["type", "text", "content"])?;
        while let Some(key) = members.next(&mut self.scan)? {
            match (&*key, self.scan.peek()?) {
                ("type", Kind::String) => medium = Medium::from_type(self.scan.string()?.raw),
                ("text", Kind::String) => self.read_text()?,
                // The result of a tool, or a document given as parts.
                ("content", _) => self.read_content()?,
                _ => bytes += self.scan.skip()?.len() as u64,
            }
        }
        match medium {
            Medium::Text => self.text_bytes += bytes,
            Medium::Image => self.media_tokens += IMAGE_TOKENS,
            Medium::Audio => self.media_tokens += bytes.div_ceil(AUDIO_BYTES_PER_TOKEN),
            Medium::Document => self.media_tokens += bytes.div_ceil(DOCUMENT_BYTES_PER_TOKEN),
        }
        Ok(())
    }

    /// An array of tools; their descriptions and schemas are input too.
    pub(super) fn read_tools(&mut self) -> Result<(), ParseRequestError> {
        if self.scan.peek()? != Kind::Array {
            return self.skip();
        }
        let mut step = self.scan.open_array()?;
        while self.scan.next_item(&mut step)? {
            let start = self.scan.offset();
            if self.scan.peek()? == Kind::Object {
                self.read_tool()?;
            } else {
                self.skip()?;
            }
            self.text_bytes += self.scan.since(start).len() as u64;
        }
        Ok(())
    }

    fn read_tool(&mut self) -> Result<(), ParseRequestError> {
        let (mut name, mut kind) = (None, None);
        let mut members = Members::open(&mut self.scan, &["name", "type", "function"])?;
        while let Some(key) = members.next(&mut self.scan)? {
            match (&*key, self.scan.peek()?) {
                ("name", Kind::String) => name = Some(self.scan.string()?),
                ("type", Kind::String) => kind = Some(self.scan.string()?),
                ("function", Kind::Object) => {
                    let mut function = Members::open(&mut self.scan, &["name"])?;
                    while let Some(key) = function.next(&mut self.scan)? {
                        match (&*key, self.scan.peek()?) {
                            ("name", Kind::String) => name = Some(self.scan.string()?),
                            _ => self.skip()?,
                        }
                    }
                }
                _ => self.skip()?,
            }
        }
        let name = name.or(kind).and_then(|name| name.decode()).unwrap_or_default();
        self.shape.add_tool(&name);
        Ok(())
    }
}
