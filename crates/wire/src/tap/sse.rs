//! Server-sent events, assembled from bytes that may be cut anywhere.
//!
//! Lines end with LF, CR or CRLF. An event ends with a blank line. What one event takes is bounded: a larger
//! one is passed over.

/// What the bytes that were read are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Advance {
    /// Part of an event that is not complete.
    Inside,
    /// The line feed of a CRLF whose carriage return already ended its line.
    LineFeed,
    /// The end of an event without data, or of one that was too large.
    Boundary,
    /// The end of an event with data; see [`Sse::name`] and [`Sse::data`].
    Event,
}

/// Assembles events.
pub(super) struct Sse {
    limit: usize,
    /// The start of a line whose end is not here yet.
    line: Vec<u8>,
    /// Bytes of that line, kept or not.
    line_size: usize,
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// Bytes since the last event ended.
    size: usize,
    is_after_return: bool,
    is_event_over: bool,
    is_started: bool,
    is_blind: bool,
}

impl Sse {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            line_size: 0,
            name: Vec::new(),
            data: Vec::new(),
            has_data: false,
            size: 0,
            is_after_return: false,
            is_event_over: false,
            is_started: false,
            is_blind: false,
        }
    }

    /// Reads up to the end of the next line. The result is how many bytes that were, and what they are.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> (usize, Advance) {
        if std::mem::take(&mut self.is_event_over) {
            self.clear();
        }
        if std::mem::take(&mut self.is_after_return) && bytes.first() == Some(&b'\n') {
            return (1, Advance::LineFeed);
        }
        let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) else {
            self.grow(bytes.len());
            self.line_size = self.line_size.saturating_add(bytes.len());
            if !self.is_too_large() {
                self.line.extend_from_slice(bytes);
            }
            return (bytes.len(), Advance::Inside);
        };
        let (line, rest) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
        self.is_after_return = rest.first() == Some(&b'\r');
        self.grow(end + 1);
        (end + 1, self.end_line(line))
    }

    /// Ends the stream. True when that completes an event.
    pub(super) fn finish(&mut self) -> bool {
        if std::mem::take(&mut self.is_event_over) {
            self.clear();
        }
        if self.line_size > 0 {
            self.end_line(&[]);
        }
        self.has_data && !self.is_too_large()
    }

    /// Name of the event that is complete; empty when it has none.
    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }

    /// Data of the event that is complete, its lines joined by line feeds.
    pub(super) fn data(&self) -> &[u8] {
        &self.data
    }

    /// Whether bytes of an event were read whose end is still to come.
    pub(super) fn is_inside(&self) -> bool {
        self.size > 0 && !self.is_event_over
    }

    /// Whether the current event is larger than the limit.
    pub(super) fn is_too_large(&self) -> bool {
        self.size > self.limit
    }

    /// Whether any event was larger than the limit.
    pub(super) fn is_blind(&self) -> bool {
        self.is_blind
    }

    fn grow(&mut self, bytes: usize) {
        self.size = self.size.saturating_add(bytes);
        if self.is_too_large() {
            self.is_blind = true;
            self.line = Vec::new();
            self.data = Vec::new();
        }
    }

    /// The end of a line of which `rest` came last.
    fn end_line(&mut self, rest: &[u8]) -> Advance {
        let is_first = !std::mem::replace(&mut self.is_started, true);
        let mut held = std::mem::take(&mut self.line);
        let line = if held.is_empty() {
            rest
        } else {
            held.extend_from_slice(rest);
            &held
        };
        let size = std::mem::take(&mut self.line_size).saturating_add(rest.len());
        // Of a line that is too large the start may be gone.
        let marked = line.strip_prefix(b"\xEF\xBB\xBF").filter(|_| is_first && !self.is_too_large());
        let is_blank = size == 0 || marked.is_some_and(<[u8]>::is_empty);
        let line = marked.unwrap_or(line);
        if !self.is_too_large() {
            self.read_line(line);
        }
        // Keeps the allocation.
        held.clear();
        self.line = held;
        if !is_blank {
            return Advance::Inside;
        }
        self.is_event_over = true;
        if self.has_data && !self.is_too_large() { Advance::Event } else { Advance::Boundary }
    }

    fn read_line(&mut self, line: &[u8]) {
        let colon = memchr::memchr(b':', line);
        let (field, value) = match colon {
            Some(at) => line.split_at_checked(at).unwrap_or((line, &[])),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
            b"event" => {
                self.name.clear();
                self.name.extend_from_slice(value);
            }
            // Comments, ids, and what is not known.
            _ => {}
        }
    }

    fn clear(&mut self) {
        self.name.clear();
        self.data.clear();
        self.has_data = false;
        self.size = 0;
    }
}
