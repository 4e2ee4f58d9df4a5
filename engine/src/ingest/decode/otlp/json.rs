//! `ExportLogsServiceRequest` in JSON.
//!
//! Protobuf's JSON mapping with OTLP's exceptions: 64-bit integers are strings or numbers, ids are hexadecimal, enums
//! are numbers (names are accepted). Members are accepted in either case, unknown ones are passed over, `null` is
//! absent.
//!
//! Records are read one at a time: what encloses them is kept as text until its resource and scope are known.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::value::read_base64;
use super::{Builder, KeyValue, OtlpRules, RECORD_BYTES_MAX, Record, Scope, Text, Value};
use crate::ingest::budget::Share;
use crate::ingest::decode::{Decoded, Error};

/// Reads a request. `now_ns` is the time of records without one.
///
/// # Errors
/// [`Error`] when it is not of this form, or takes more memory than `share` can get.
pub fn decode(body: &[u8], rules: &OtlpRules, now_ns: i64, share: Share) -> Result<Decoded, Error> {
    let mut out = Builder::new(rules, now_ns, share);
    let request: Option<RequestJson<'_>> = parse(body)?;
    each(request.and_then(|request| request.resource_logs), |text| resource_logs(text, &mut out))?;
    Ok(out.finish())
}

fn resource_logs(text: &str, out: &mut Builder<'_>) -> Result<(), Error> {
    let logs: ResourceLogsJson<'_> = parse(text.as_bytes())?;
    let resource: ResourceJson<'_> = logs.resource.map(small).transpose()?.unwrap_or_default();
    out.resource(&key_values(resource.attributes))?;
    each(logs.scope_logs, |text| scope_logs(text, out))
}

fn scope_logs(text: &str, out: &mut Builder<'_>) -> Result<(), Error> {
    let logs: ScopeLogsJson<'_> = parse(text.as_bytes())?;
    let scope: ScopeJson<'_> = logs.scope.map(small).transpose()?.unwrap_or_default();
    out.scope(&Scope {
        name: text_of(scope.name),
        version: text_of(scope.version),
        attributes: key_values(scope.attributes),
        dropped_attributes_count: scope.dropped_attributes_count.0,
    })?;
    each(logs.log_records, |text| {
        let record: RecordJson<'_> = parse(check_size(text)?.as_bytes())?;
        out.record(&record.try_into()?)
    })
}

fn parse<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(text).map_err(|error| Error::malformed(format!("invalid OTLP JSON: {error}")))
}

/// Parses what becomes a tree.
fn small<'a, T: Deserialize<'a>>(text: &'a RawValue) -> Result<T, Error> {
    parse::<Option<T>>(check_size(text.get())?.as_bytes())?.ok_or_else(|| Error::malformed("invalid OTLP JSON: null"))
}

fn check_size(text: &str) -> Result<&str, Error> {
    if text.len() > RECORD_BYTES_MAX {
        return Err(Error::TooLarge { bytes: text.len() as u64, limit_bytes: RECORD_BYTES_MAX as u64 });
    }
    Ok(text)
}

/// Calls `element` with the text of each element of an array, which is not kept as a whole.
fn each<'a>(array: Option<&'a RawValue>, element: impl FnMut(&'a str) -> Result<(), Error>) -> Result<(), Error> {
    struct Each<F>(F, Result<(), Error>);

    impl<'a, F: FnMut(&'a str) -> Result<(), Error>> Visitor<'a> for &mut Each<F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_unit<E: de::Error>(self) -> Result<(), E> {
            Ok(())
        }

        fn visit_seq<A: SeqAccess<'a>>(self, mut elements: A) -> Result<(), A::Error> {
            while let Some(text) = elements.next_element::<&'a RawValue>()? {
                if let Err(error) = (self.0)(text.get()) {
                    // Serde carries only its own errors; ours is kept beside it.
                    self.1 = Err(error);
                    return Err(de::Error::custom("refused"));
                }
            }
            Ok(())
        }
    }

    impl<'a, F: FnMut(&'a str) -> Result<(), Error>> DeserializeSeed<'a> for &mut Each<F> {
        type Value = ();

        fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
            deserializer.deserialize_any(self)
        }
    }

    let Some(array) = array else { return Ok(()) };
    let mut each = Each(element, Ok(()));
    let outcome = each.deserialize(&mut serde_json::Deserializer::from_str(array.get()));
    each.1?;
    outcome.map_err(|error| Error::malformed(format!("invalid OTLP JSON: {error}")))
}

#[derive(Deserialize)]
struct RequestJson<'a> {
    #[serde(borrow, alias = "resourceLogs", default)]
    resource_logs: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ResourceLogsJson<'a> {
    #[serde(borrow, default)]
    resource: Option<&'a RawValue>,
    #[serde(borrow, alias = "scopeLogs", default)]
    scope_logs: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct ResourceJson<'a> {
    #[serde(borrow, default)]
    attributes: Option<Vec<KeyValueJson<'a>>>,
}

#[derive(Deserialize)]
struct ScopeLogsJson<'a> {
    #[serde(borrow, default)]
    scope: Option<&'a RawValue>,
    #[serde(borrow, alias = "logRecords", default)]
    log_records: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct ScopeJson<'a> {
    #[serde(borrow, default)]
    name: Option<Str<'a>>,
    #[serde(borrow, default)]
    version: Option<Str<'a>>,
    #[serde(borrow, default)]
    attributes: Option<Vec<KeyValueJson<'a>>>,
    #[serde(alias = "droppedAttributesCount", default)]
    dropped_attributes_count: Number<u32>,
}

#[derive(Deserialize)]
struct RecordJson<'a> {
    #[serde(alias = "timeUnixNano", default)]
    time_unix_nano: Number<u64>,
    #[serde(alias = "observedTimeUnixNano", default)]
    observed_time_unix_nano: Number<u64>,
    #[serde(alias = "severityNumber", default)]
    severity_number: Severity,
    #[serde(borrow, alias = "severityText", default)]
    severity_text: Option<Str<'a>>,
    #[serde(borrow, default)]
    body: Option<ValueJson<'a>>,
    #[serde(borrow, default)]
    attributes: Option<Vec<KeyValueJson<'a>>>,
    #[serde(alias = "droppedAttributesCount", default)]
    dropped_attributes_count: Number<u32>,
    #[serde(default)]
    flags: Number<u32>,
    #[serde(borrow, alias = "traceId", default)]
    trace_id: Option<Str<'a>>,
    #[serde(borrow, alias = "spanId", default)]
    span_id: Option<Str<'a>>,
}

impl<'a> TryFrom<RecordJson<'a>> for Record<'a> {
    type Error = Error;

    fn try_from(record: RecordJson<'a>) -> Result<Self, Error> {
        Ok(Self {
            time_ns: record.time_unix_nano.0,
            observed_time_ns: record.observed_time_unix_nano.0,
            severity_number: record.severity_number.0,
            severity_text: text_of(record.severity_text),
            body: record.body.map(Value::from).unwrap_or_default(),
            attributes: key_values(record.attributes),
            dropped_attributes_count: record.dropped_attributes_count.0,
            flags: record.flags.0,
            trace_id: id(record.trace_id, "traceId")?,
            span_id: id(record.span_id, "spanId")?,
        })
    }
}

#[derive(Deserialize)]
struct KeyValueJson<'a> {
    #[serde(borrow, default)]
    key: Option<Str<'a>>,
    #[serde(borrow, default)]
    value: Option<ValueJson<'a>>,
}

/// The member that is set decides; of several, the first in this order.
#[derive(Deserialize)]
struct ValueJson<'a> {
    #[serde(borrow, alias = "stringValue", default)]
    string_value: Option<Str<'a>>,
    #[serde(alias = "boolValue", default)]
    bool_value: Option<bool>,
    #[serde(alias = "intValue", default)]
    int_value: Option<Number<i64>>,
    #[serde(alias = "doubleValue", default)]
    double_value: Option<Number<f64>>,
    #[serde(borrow, alias = "bytesValue", default)]
    bytes_value: Option<Base64<'a>>,
    #[serde(borrow, alias = "arrayValue", default)]
    array_value: Option<ArrayJson<'a>>,
    #[serde(borrow, alias = "kvlistValue", default)]
    kvlist_value: Option<MapJson<'a>>,
}

#[derive(Deserialize)]
struct ArrayJson<'a> {
    #[serde(borrow, default)]
    values: Option<Vec<ValueJson<'a>>>,
}

#[derive(Deserialize)]
struct MapJson<'a> {
    #[serde(borrow, default)]
    values: Option<Vec<KeyValueJson<'a>>>,
}

impl<'a> From<ValueJson<'a>> for Value<'a> {
    fn from(value: ValueJson<'a>) -> Self {
        if let Some(text) = value.string_value {
            Self::Text(text_of(Some(text)))
        } else if let Some(value) = value.bool_value {
            Self::Bool(value)
        } else if let Some(value) = value.int_value {
            Self::Int(value.0)
        } else if let Some(value) = value.double_value {
            Self::Double(value.0)
        } else if let Some(bytes) = value.bytes_value {
            Self::Bytes(bytes.0)
        } else if let Some(array) = value.array_value {
            Self::Array(array.values.unwrap_or_default().into_iter().map(Self::from).collect())
        } else if let Some(map) = value.kvlist_value {
            Self::Map(key_values(map.values))
        } else {
            Self::Empty
        }
    }
}

fn key_values(pairs: Option<Vec<KeyValueJson<'_>>>) -> Vec<KeyValue<'_>> {
    pairs
        .unwrap_or_default()
        .into_iter()
        .map(|pair| KeyValue { key: text_of(pair.key), value: pair.value.map(Value::from).unwrap_or_default() })
        .collect()
}

/// A string, borrowed where it has no escapes.
struct Str<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Str<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Str<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Str<'de>, E> {
                Ok(Str(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Str<'de>, E> {
                Ok(Str(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

fn text_of(text: Option<Str<'_>>) -> Text<'_> {
    match text {
        Some(Str(Cow::Borrowed(text))) => Cow::Borrowed(text.as_bytes()),
        Some(Str(Cow::Owned(text))) => Cow::Owned(text.into_bytes()),
        None => Cow::Borrowed(&[]),
    }
}

/// An id in hexadecimal.
fn id<'a>(text: Option<Str<'a>>, name: &str) -> Result<Text<'a>, Error> {
    let text = text.map(|text| text.0).unwrap_or_default();
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let bytes = text.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    let bytes = bytes.collect::<Option<Vec<u8>>>();
    bytes.map(Cow::Owned).ok_or_else(|| Error::malformed(format!("invalid OTLP JSON: {name} is not hexadecimal")))
}

/// Bytes in base64.
struct Base64<'a>(Text<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Base64<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Str::deserialize(deserializer)?.0;
        read_base64(&text).map(|bytes| Self(Cow::Owned(bytes))).ok_or_else(|| de::Error::custom("invalid base64"))
    }
}

/// A number, or the same in quotes. `null` is zero.
#[derive(Default)]
struct Number<T>(T);

impl<'de, T: Numeric> Deserialize<'de> for Number<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Numbers<T>(std::marker::PhantomData<T>);

        impl<T: Numeric> Numbers<T> {
            fn check<E: de::Error>(number: Option<T>) -> Result<Number<T>, E> {
                number.map(Number).ok_or_else(|| E::custom("number out of range"))
            }
        }

        impl<T: Numeric> Visitor<'_> for Numbers<T> {
            type Value = Number<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Number<T>, E> {
                Self::check(T::from_u64(number))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Number<T>, E> {
                Self::check(T::from_i64(number))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Number<T>, E> {
                Self::check(T::from_f64(number))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Number<T>, E> {
                Self::check(text.parse().ok())
            }

            fn visit_unit<E: de::Error>(self) -> Result<Number<T>, E> {
                Ok(Number(T::default()))
            }
        }

        deserializer.deserialize_any(Numbers(std::marker::PhantomData))
    }
}

/// The number types of OTLP.
trait Numeric: std::str::FromStr + Default {
    fn from_u64(number: u64) -> Option<Self>;
    fn from_i64(number: i64) -> Option<Self>;
    fn from_f64(number: f64) -> Option<Self>;
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl Numeric for $integer {
            fn from_u64(number: u64) -> Option<Self> {
                number.try_into().ok()
            }

            fn from_i64(number: i64) -> Option<Self> {
                number.try_into().ok()
            }

            /// `1e3` is an integer too.
            fn from_f64(number: f64) -> Option<Self> {
                ((number as $integer) as f64 == number).then_some(number as $integer)
            }
        }
    )*};
}

integers!(u32, u64, i32, i64);

impl Numeric for f64 {
    fn from_u64(number: u64) -> Option<Self> {
        Some(number as f64)
    }

    fn from_i64(number: i64) -> Option<Self> {
        Some(number as f64)
    }

    fn from_f64(number: f64) -> Option<Self> {
        Some(number)
    }
}

/// A severity number, or its name: `SEVERITY_NUMBER_INFO2` is 10.
#[derive(Default)]
struct Severity(i32);

impl<'de> Deserialize<'de> for Severity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form<'a> {
            Number(Number<i32>),
            #[serde(borrow)]
            Name(Str<'a>),
        }
        match Form::deserialize(deserializer)? {
            Form::Number(number) => Ok(Self(number.0)),
            Form::Name(name) => severity_of(&name.0).map(Self).ok_or_else(|| de::Error::custom("unknown severity")),
        }
    }
}

fn severity_of(name: &str) -> Option<i32> {
    let name = name.strip_prefix("SEVERITY_NUMBER_")?;
    if name == "UNSPECIFIED" {
        return Some(0);
    }
    let (name, step) = match name.as_bytes() {
        [.., digit @ b'2'..=b'4'] => (&name[..name.len() - 1], i32::from(digit - b'1')),
        _ => (name, 0),
    };
    let names = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
    let idx = names.iter().position(|&known| known == name)?;
    Some(4 * idx as i32 + 1 + step)
}
