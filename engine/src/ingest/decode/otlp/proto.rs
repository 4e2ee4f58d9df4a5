//! `ExportLogsServiceRequest` in protobuf.
//!
//! ```text
//! request  := 1:ResourceLogs*
//! ResourceLogs := 1:Resource 2:ScopeLogs*          Resource := 1:KeyValue*
//! ScopeLogs    := 1:Scope 2:LogRecord*             Scope    := 1:name 2:version 3:KeyValue* 4:dropped
//! LogRecord    := 1:time 2:severity_number 3:severity_text 5:AnyValue 6:KeyValue* 7:dropped 8:flags
//!                 9:trace_id 10:span_id 11:observed_time
//! KeyValue := 1:key 2:AnyValue
//! AnyValue := 1:string | 2:bool | 3:int | 4:double | 5:(1:AnyValue*) | 6:(1:KeyValue*) | 7:bytes
//! ```
//!
//! Fields may come in any order, so a resource is looked for before its records are read.

use super::{Builder, KeyValue, OtlpRules, RECORD_BYTES_MAX, Record, Scope, VALUE_DEPTH_MAX, Value};
use crate::ingest::budget::Share;
use crate::ingest::decode::proto::{self, Fields};
use crate::ingest::decode::{Decoded, Error};

/// Reads an uncompressed request. `now_ns` is the time of records without one.
///
/// # Errors
/// [`Error`] when it is no such message, or takes more memory than `share` can get.
pub fn decode(body: &[u8], rules: &OtlpRules, now_ns: i64, share: Share) -> Result<Decoded, Error> {
    let mut out = Builder::new(rules, now_ns, share);
    messages(body, 1, |message| resource_logs(message, &mut out))?;
    Ok(out.finish())
}

fn resource_logs(message: &[u8], out: &mut Builder<'_>) -> Result<(), Error> {
    let mut attributes = Vec::new();
    messages(message, 1, |resource| {
        check_size(resource)?;
        messages(resource, 1, |attribute| push_key_value(attribute, &mut attributes, 0))
    })?;
    out.resource(&attributes)?;
    messages(message, 2, |message| scope_logs(message, out))
}

fn scope_logs(message: &[u8], out: &mut Builder<'_>) -> Result<(), Error> {
    let mut scope = Scope::default();
    messages(message, 1, |message| {
        check_size(message)?;
        let mut fields = Fields::new(message);
        while let Some((number, value)) = fields.next_field()? {
            match number {
                1 => scope.name = value.bytes()?.into(),
                2 => scope.version = value.bytes()?.into(),
                3 => push_key_value(value.bytes()?, &mut scope.attributes, 0)?,
                4 => scope.dropped_attributes_count = value.varint()? as u32,
                _ => {}
            }
        }
        Ok(())
    })?;
    out.scope(&scope)?;
    messages(message, 2, |message| out.record(&record(message)?))
}

fn record(message: &[u8]) -> Result<Record<'_>, Error> {
    check_size(message)?;
    let mut record = Record::default();
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next_field()? {
        match number {
            1 => record.time_ns = value.fixed64()?,
            2 => record.severity_number = value.varint()? as i32,
            3 => record.severity_text = value.bytes()?.into(),
            5 => record.body = any_value(value.bytes()?, 0)?,
            6 => push_key_value(value.bytes()?, &mut record.attributes, 0)?,
            7 => record.dropped_attributes_count = value.varint()? as u32,
            8 => record.flags = value.fixed32()?,
            9 => record.trace_id = value.bytes()?.into(),
            10 => record.span_id = value.bytes()?.into(),
            11 => record.observed_time_ns = value.fixed64()?,
            _ => {}
        }
    }
    Ok(record)
}

fn push_key_value<'a>(message: &'a [u8], out: &mut Vec<KeyValue<'a>>, depth: usize) -> Result<(), Error> {
    let mut pair = KeyValue::default();
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next_field()? {
        match number {
            1 => pair.key = value.bytes()?.into(),
            2 => pair.value = any_value(value.bytes()?, depth)?,
            _ => {}
        }
    }
    out.push(pair);
    Ok(())
}

fn any_value(message: &[u8], depth: usize) -> Result<Value<'_>, Error> {
    if depth > VALUE_DEPTH_MAX {
        return Err(Error::malformed("a value is nested too deeply"));
    }
    let mut out = Value::Empty;
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next_field()? {
        match number {
            1 => out = Value::Text(value.bytes()?.into()),
            2 => out = Value::Bool(value.varint()? != 0),
            3 => out = Value::Int(value.varint()?.cast_signed()),
            4 => out = Value::Double(f64::from_bits(value.fixed64()?)),
            5 => {
                let mut values = Vec::new();
                messages(value.bytes()?, 1, |message| {
                    values.push(any_value(message, depth + 1)?);
                    Ok(())
                })?;
                out = Value::Array(values);
            }
            6 => {
                let mut members = Vec::new();
                messages(value.bytes()?, 1, |message| push_key_value(message, &mut members, depth + 1))?;
                out = Value::Map(members);
            }
            7 => out = Value::Bytes(value.bytes()?.into()),
            _ => {}
        }
    }
    Ok(out)
}

/// Calls `each` with every message in field `number`.
fn messages<'a>(
    message: &'a [u8],
    number: u32,
    mut each: impl FnMut(&'a [u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut fields = Fields::new(message);
    while let Some((found, value)) = fields.next_field()? {
        if let (true, proto::Value::Bytes(bytes)) = (found == number, value) {
            each(bytes)?;
        }
    }
    Ok(())
}

fn check_size(message: &[u8]) -> Result<(), Error> {
    if message.len() > RECORD_BYTES_MAX {
        return Err(Error::TooLarge { bytes: message.len() as u64, limit_bytes: RECORD_BYTES_MAX as u64 });
    }
    Ok(())
}
