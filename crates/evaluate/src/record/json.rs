//! One JSON object as a record, in one pass and without a map.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Cell, Column, Record, RecordError, UnknownFields};

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
        let mut seen = [false; Column::COUNT];
        while let Some(column) = map.next_key_seed(Name { unknown: self.unknown })? {
            let Some(column) = column else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if let Some(seen) = seen.get_mut(column as usize)
                && std::mem::replace(seen, true)
            {
                return Err(A::Error::custom(format!("field {} occurs twice", column.name())));
            }
            record.put(column, map.next_value_seed(Value)?);
        }
        Ok(record)
    }
}

struct Name<'u> {
    unknown: &'u mut UnknownFields,
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<Column>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<Column>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        let column = Column::from_name(name);
        if column.is_none() {
            self.unknown.note(name);
        }
        Ok(column)
    }
}

struct Value;

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
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Cell::Nested)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Cell<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Cell::Nested)
    }
}
