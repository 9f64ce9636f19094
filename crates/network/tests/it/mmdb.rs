//! Writes small MaxMind DB files, so that the tests' databases are our own.

use std::net::IpAddr;

/// A value of a record.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(String),
    Short(u16),
    Number(u32),
    Long(u64),
    Flag(bool),
    Map(Vec<(String, Value)>),
    List(Vec<Value>),
}

pub(crate) fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

pub(crate) fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// A child of a node: another node, a record, or nothing.
#[derive(Clone, Copy)]
enum Child {
    None,
    Node(usize),
    Record(usize),
}

/// A database for both families with 32-bit tree records. Networks are given as `address/bits`; later ones must not
/// cover earlier ones.
pub(crate) fn write(database_type: &str, build_epoch: u32, networks: &[(&str, Value)]) -> Vec<u8> {
    let mut nodes = vec![[Child::None; 2]];
    let mut data = Vec::new();
    let mut offsets = Vec::new();
    for (record, (network, value)) in networks.iter().enumerate() {
        offsets.push(data.len() as u32);
        write_value(&mut data, value);
        let (address, bits) = network.split_once('/').unwrap();
        let bits: usize = bits.parse().unwrap();
        let (address, bits) = match address.parse().unwrap() {
            IpAddr::V4(v4) => (u128::from(u32::from(v4)), bits + 96),
            IpAddr::V6(v6) => (u128::from(v6), bits),
        };
        let mut node = 0;
        for depth in 0..bits {
            let side = (address >> (127 - depth) & 1) as usize;
            if depth + 1 == bits {
                nodes[node][side] = Child::Record(record);
            } else if let Child::Node(next) = nodes[node][side] {
                node = next;
            } else {
                nodes.push([Child::None; 2]);
                let next = nodes.len() - 1;
                nodes[node][side] = Child::Node(next);
                node = next;
            }
        }
    }
    let count = nodes.len() as u32;
    let mut out = Vec::new();
    for child in nodes.iter().flatten() {
        let number = match child {
            Child::None => count,
            Child::Node(node) => *node as u32,
            Child::Record(record) => count + 16 + offsets[*record],
        };
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.extend_from_slice(&[0; 16]);
    out.extend_from_slice(&data);
    out.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
    let metadata = map([
        ("binary_format_major_version", Value::Short(2)),
        ("binary_format_minor_version", Value::Short(0)),
        ("build_epoch", Value::Long(build_epoch.into())),
        ("database_type", text(database_type)),
        ("description", map([])),
        ("ip_version", Value::Short(6)),
        ("languages", Value::List(Vec::new())),
        ("node_count", Value::Number(count)),
        ("record_size", Value::Short(32)),
    ]);
    write_value(&mut out, &metadata);
    out
}

/// Control byte, and an extended type's second byte, for sizes below 285.
fn write_control(out: &mut Vec<u8>, kind: u8, size: usize) {
    let (first, more) = if size < 29 { (size as u8, None) } else { (29, Some((size - 29) as u8)) };
    if kind < 8 {
        out.push(kind << 5 | first);
    } else {
        out.extend_from_slice(&[first, kind - 7]);
    }
    out.extend(more);
}

fn write_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Text(text) => {
            write_control(out, 2, text.len());
            out.extend_from_slice(text.as_bytes());
        }
        Value::Short(number) => {
            write_control(out, 5, 2);
            out.extend_from_slice(&number.to_be_bytes());
        }
        Value::Long(number) => {
            write_control(out, 9, 8);
            out.extend_from_slice(&number.to_be_bytes());
        }
        Value::Number(number) => {
            write_control(out, 6, 4);
            out.extend_from_slice(&number.to_be_bytes());
        }
        Value::Flag(flag) => write_control(out, 14, usize::from(*flag)),
        Value::Map(entries) => {
            write_control(out, 7, entries.len());
            for (key, value) in entries {
                write_value(out, &text(key));
                write_value(out, value);
            }
        }
        Value::List(values) => {
            write_control(out, 11, values.len());
            values.iter().for_each(|value| write_value(out, value));
        }
    }
}
