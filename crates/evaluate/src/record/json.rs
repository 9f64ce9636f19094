//! One JSON object as a record, in one pass and without a map.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize as _;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;

use super::{Cell, Column, Name, Record, RecordError, UnknownFields};

/// An object of token counts, as vendors answer it.
const USAGE: &str = "usage";

pub(super) fn read<'a>(line: &'a [u8], unknown: &mut UnknownFields) -> Result<Record<'a>, RecordError> {
    let failed = |error: serde_json::Error| RecordError::Json(error.to_string());
    let mut reader = serde_json::Deserializer::from_slice(line);
    let record = reader.deserialize_map(Fields { unknown }).map_err(failed)?;
    reader.end().map_err(failed)?;
    Ok(record)
}

struct Fields<'u> {
    unknown: &'u mut UnknownFields,
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = Record<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Record<'de>, A::Error> {
        let mut record = Record::default();
        // One bit for each of a field's names.
        let mut seen = [0u32; Column::COUNT];
        while let Some(key) = map.next_key_seed(ReadKey { unknown: self.unknown })? {
            let name = match key {
                Key::Field(name) => name,
                Key::Usage => {
                    take_usage(&map.next_value()?, &mut record, self.unknown);
                    continue;
                }
                Key::Unknown => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            let bit = 1u32.checked_shl(name.rank.into()).unwrap_or(0);
            if let Some(seen) = seen.get_mut(name.column as usize) {
                if *seen & bit != 0 {
                    return Err(A::Error::custom(format!("field {} occurs twice", name.text())));
                }
                *seen |= bit;
            }
            let cell = map.next_value_seed(Value { column: name.column })?;
            record.put(name, cell, self.unknown);
        }
        Ok(record)
    }
}

/// What a field name stands for.
enum Key {
    Field(Name),
    Usage,
    Unknown,
}

struct ReadKey<'u> {
    unknown: &'u mut UnknownFields,
}

impl<'de> DeserializeSeed<'de> for ReadKey<'_> {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for ReadKey<'_> {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Key, E> {
        if let Some(name) = Name::find(text) {
            return Ok(Key::Field(name));
        }
        if text == USAGE {
            return Ok(Key::Usage);
        }
        self.unknown.note(text);
        Ok(Key::Unknown)
    }
}

/// Takes token counts from an object as vendors answer it, and from the objects of details inside of it. Anything else is
/// passed over like a field that is not known.
fn take_usage(usage: &Json, record: &mut Record<'_>, unknown: &mut UnknownFields) {
    let Json::Object(usage) = usage else {
        if !usage.is_null() {
            unknown.note(USAGE);
        }
        return;
    };
    for (text, value) in usage {
        match Name::find(text).filter(|name| name.column.is_usage()) {
            Some(name) => record.put(name.in_usage(), cell_of(value), unknown),
            None if text.ends_with("_details") => take_usage(value, record, unknown),
            // The sum of the others.
            None if text == "total_tokens" => {}
            None => unknown.note(&format!("{USAGE}.{text}")),
        }
    }
}

fn cell_of<'a>(value: &Json) -> Cell<'a> {
    match value {
        Json::Null => Cell::Absent,
        Json::Bool(flag) => Cell::Flag(*flag),
        Json::Number(number) => {
            number.as_u64().map_or_else(|| Cell::Real(number.as_f64().unwrap_or(f64::NAN)), Cell::Number)
        }
        Json::String(text) => Cell::Text(Cow::Owned(text.clone())),
        Json::Array(_) | Json::Object(_) => Cell::Nested,
    }
}

struct Value {
    column: Column,
}

impl<'de> DeserializeSeed<'de> for Value {
    type Value = Cell<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cell<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value {
    type Value = Cell<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Cell<'de>, E> {
        Ok(Cell::Absent)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Cell<'de>, E> {
        Ok(Cell::Flag(flag))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Cell<'de>, E> {
        Ok(Cell::Number(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Cell<'de>, E> {
        Ok(u64::try_from(number).map_or(Cell::Real(number as f64), Cell::Number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Cell<'de>, E> {
        Ok(Cell::Real(number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Cell<'de>, E> {
        Ok(Cell::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Cell<'de>, E> {
        Ok(Cell::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Cell<'de>, A::Error> {
        if self.column.is_hash() {
            let list = Vec::deserialize(SeqAccessDeserializer::new(seq))?;
            return Ok(Cell::Json(Box::new(Json::Array(list))));
        }
        let mut count = 0;
        while seq.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        // The conversation itself: what it says is not looked at.
        Ok(if self.column == Column::Messages { Cell::Number(count) } else { Cell::Nested })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Cell<'de>, A::Error> {
        if self.column.is_hash() {
            let object = serde_json::Map::deserialize(MapAccessDeserializer::new(map))?;
            return Ok(Cell::Json(Box::new(Json::Object(object))));
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Cell::Nested)
    }
}
