//! The labels of one line while it passes the pipeline.
//!
//! ```text
//! stream labels      constant, never copied           StreamContext
//! metadata labels  \ fields of this line: a name,     fields, found through slots[name]
//! parsed labels    / where its text lies, a category
//! ```
//!
//! All labels form one name space: the most recently set value wins, a deleted label is absent (a field that says so
//! hides the stream label). Texts stay where they are, in the line, the stream or the metadata; what had to be
//! unescaped, computed or repaired lies in an arena. Everything is reused from line to line.

use std::sync::Arc;

use super::keys::{Key, KeyId, KeyTable};
use super::names::{ERROR, ERROR_DETAILS, NameId, Names};
use super::needs::Needs;
use super::{Category, Entry, StreamContext};
use crate::stage::early::EarlyFilters;

/// The types of `__error__`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in LogQL")]
pub enum ErrorKind {
    JsonParser,
    LogfmtParser,
    LabelFilter,
    TemplateFormat,
    SampleExtraction,
}

impl ErrorKind {
    /// The value of `__error__`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JsonParser => "JSONParserErr",
            Self::LogfmtParser => "LogfmtParserErr",
            Self::LabelFilter => "LabelFilterErr",
            Self::TemplateFormat => "TemplateFormatErr",
            Self::SampleExtraction => "SampleExtractionErr",
        }
    }
}

/// What is constant while one line is processed.
#[derive(Clone, Copy)]
pub(crate) struct Env<'a> {
    pub stream: &'a StreamContext,
    pub entry: Entry<'a>,
    /// The stored line as text; empty when it is not UTF-8 (then nothing refers to it).
    pub text: &'a str,
}

/// Where the text of a value lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value {
    /// Bytes of the stored line.
    Line(u32, u32),
    Arena(u32, u32),
    /// Index of a stream label, whose value it is.
    Stream(u32),
    /// Index of a metadata pair, whose value it is.
    Metadata(u32),
    /// The label was deleted.
    Deleted,
}

#[derive(Debug, Clone, Copy)]
struct Field {
    name: NameId,
    value: Value,
    category: Category,
    /// Set by a stage: later full parsers leave it alone, even when it was dropped since.
    is_parsed: bool,
}

/// `at` is valid when `epoch` is the current one.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    epoch: u32,
    at: u32,
}

/// Bytes from which labels are cut.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub bytes: &'a [u8],
    /// The bytes are `Env::text`, so that values may refer to them.
    pub is_stored_text: bool,
    /// Nothing but ASCII, so that nothing has to be repaired.
    pub is_ascii: bool,
}

/// What a parser does after it has set a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Continue,
    /// Everything that anybody needs is there: stop reading the line.
    Complete,
    /// A filter on this label drops the line.
    Drop,
}

/// See the module's head.
pub(crate) struct LabelState {
    pub names: Names,
    pub needs: Arc<Needs>,
    early: Arc<EarlyFilters>,
    keys: KeyTable,
    slots: Vec<Slot>,
    fields: Vec<Field>,
    arena: String,
    epoch: u32,
    /// Needed labels that no stage has set yet; parsers stop at 0.
    missing: u32,
    error: Option<ErrorKind>,
    details: Option<(u32, u32)>,
    error_is_wanted: bool,
    /// A stage set or deleted a label.
    is_changed: bool,

    stream_id: u64,
    stream_names: Vec<NameId>,
    stream_slots: Vec<Slot>,
    stream_epoch: u32,
    /// Names of the metadata of the last line, by position: most lines bring the same.
    metadata_names: Vec<(Arc<str>, NameId)>,
}

/// What one line may leave in the arena before its memory is given back.
const ARENA_BYTES_KEPT: usize = 1 << 20;
/// Names that lines brought, before the table starts anew: keys may be data.
const NAMES_KEPT: usize = 1 << 16;

impl LabelState {
    pub(crate) fn new(names: Names, needs: Arc<Needs>, early: Arc<EarlyFilters>) -> Self {
        Self {
            names,
            needs,
            early,
            keys: KeyTable::default(),
            slots: Vec::new(),
            fields: Vec::new(),
            arena: String::new(),
            epoch: 0,
            missing: 0,
            error: None,
            details: None,
            error_is_wanted: false,
            is_changed: false,
            stream_id: 0,
            stream_names: Vec::new(),
            stream_slots: Vec::new(),
            stream_epoch: 0,
            metadata_names: Vec::new(),
        }
    }

    /// True when lines brought so many names that the state had better be made anew.
    pub(crate) fn is_overgrown(&self) -> bool {
        self.names.len() > NAMES_KEPT || self.keys.is_overgrown()
    }

    /// Forgets the last line and takes in the metadata of the next one.
    pub(crate) fn begin(&mut self, env: &Env<'_>) {
        if self.epoch == u32::MAX {
            self.epoch = 0;
            self.slots.fill(Slot::default());
        }
        self.epoch += 1;
        self.fields.clear();
        self.arena.clear();
        if self.arena.capacity() > ARENA_BYTES_KEPT {
            self.arena = String::new();
        }
        self.error = None;
        self.details = None;
        self.error_is_wanted = false;
        self.missing = self.needs.count();
        if self.stream_id != env.stream.id {
            self.enter_stream(env.stream);
        }
        for (idx, (name, value)) in env.entry.metadata.iter().enumerate() {
            if value.is_empty() {
                continue;
            }
            let mut name = self.metadata_name(idx, name);
            if self.stream_has(name) {
                name = self.names.extracted(name);
            }
            self.put(name, Value::Metadata(idx as u32), Category::Metadata);
        }
        self.is_changed = false;
    }

    fn enter_stream(&mut self, stream: &StreamContext) {
        self.stream_id = stream.id;
        if self.stream_epoch == u32::MAX {
            self.stream_epoch = 0;
            self.stream_slots.fill(Slot::default());
        }
        self.stream_epoch += 1;
        self.stream_names.clear();
        for (idx, (name, _)) in stream.labels.iter().enumerate() {
            let name = self.names.intern(name);
            self.stream_names.push(name);
            if self.stream_slots.len() <= name.idx() {
                self.stream_slots.resize(name.idx() + 1, Slot::default());
            }
            self.stream_slots[name.idx()] = Slot { epoch: self.stream_epoch, at: idx as u32 };
        }
    }

    /// The number of a metadata name, without hashing when the last line had it at the same place.
    fn metadata_name(&mut self, idx: usize, name: &Arc<str>) -> NameId {
        if let Some((last, id)) = self.metadata_names.get(idx)
            && (Arc::ptr_eq(last, name) || last == name)
        {
            return *id;
        }
        let id = self.names.intern(name);
        self.metadata_names.truncate(idx);
        if self.metadata_names.len() == idx {
            self.metadata_names.push((name.clone(), id));
        }
        id
    }

    fn field(&self, name: NameId) -> Option<&Field> {
        let slot = self.slots.get(name.idx())?;
        (slot.epoch == self.epoch).then(|| &self.fields[slot.at as usize])
    }

    fn stream_idx(&self, name: NameId) -> Option<u32> {
        let slot = self.stream_slots.get(name.idx())?;
        (slot.epoch == self.stream_epoch).then_some(slot.at)
    }

    fn stream_has(&self, name: NameId) -> bool {
        self.stream_idx(name).is_some()
    }

    fn put(&mut self, name: NameId, value: Value, category: Category) {
        let is_parsed = category == Category::Parsed;
        if self.slots.len() <= name.idx() {
            self.slots.resize(name.idx() + 1, Slot::default());
        }
        let slot = &mut self.slots[name.idx()];
        if slot.epoch == self.epoch {
            let field = &mut self.fields[slot.at as usize];
            *field = Field { name, value, category, is_parsed: is_parsed || field.is_parsed };
            return;
        }
        *slot = Slot { epoch: self.epoch, at: self.fields.len() as u32 };
        self.fields.push(Field { name, value, category, is_parsed });
    }

    /// The value of a label; `None` when absent. `__error__` reads the error.
    pub(crate) fn get<'a>(&'a self, name: NameId, env: &Env<'a>) -> Option<&'a str> {
        if name == ERROR
            && let Some(error) = self.error
        {
            return Some(error.as_str());
        }
        if name == ERROR_DETAILS
            && let Some(details) = self.error_details()
        {
            return Some(details);
        }
        match self.field(name) {
            Some(field) => self.text(field.value, env),
            None => self.stream_idx(name).map(|idx| stream_value(env, idx)),
        }
    }

    /// Where the value of a label lies.
    pub(crate) fn locate(&self, name: NameId) -> Option<Value> {
        match self.field(name) {
            Some(Field { value: Value::Deleted, .. }) => None,
            Some(field) => Some(field.value),
            None => self.stream_idx(name).map(Value::Stream),
        }
    }

    fn text<'a>(&'a self, value: Value, env: &Env<'a>) -> Option<&'a str> {
        match value {
            Value::Line(start, end) => Some(&env.text[start as usize..end as usize]),
            Value::Arena(start, end) => Some(&self.arena[start as usize..end as usize]),
            Value::Stream(idx) => Some(stream_value(env, idx)),
            Value::Metadata(idx) => Some(&env.entry.metadata[idx as usize].1),
            Value::Deleted => None,
        }
    }

    /// The label that a full parser sets when it finds `name`: the name itself, or `name_extracted` when the stream
    /// or the metadata has the name. `None` when nobody wants it or when it is set already: the first wins.
    pub(crate) fn claim(&mut self, name: NameId) -> Option<NameId> {
        let name = self.target(name);
        if !self.needs.contains(name) || self.field(name).is_some_and(|field| field.is_parsed) {
            return None;
        }
        Some(name)
    }

    /// `name`, or `name_extracted` when the stream or the metadata has the name.
    pub(crate) fn target(&mut self, name: NameId) -> NameId {
        // A stream label keeps this effect after `drop`, a metadata label does not.
        let is_taken = self.stream_has(name)
            || self.field(name).is_some_and(|f| f.category == Category::Metadata && f.value != Value::Deleted);
        if is_taken { self.names.extracted(name) } else { name }
    }

    /// Sets a parsed label.
    pub(crate) fn set(&mut self, name: NameId, value: Value) {
        if self.needs.contains_named(name) && !self.field(name).is_some_and(|field| field.is_parsed) {
            self.missing -= 1;
        }
        self.is_changed = true;
        self.put(name, value, Category::Parsed);
    }

    /// Sets a label that a full parser found, and says how it goes on.
    pub(crate) fn set_found(&mut self, name: NameId, value: Value, env: &Env<'_>) -> Flow {
        self.set(name, value);
        if self.early.has(name) {
            let early = self.early.clone();
            if !early.keeps(name, self, env) {
                return Flow::Drop;
            }
        }
        if self.is_complete() { Flow::Complete } else { Flow::Continue }
    }

    /// True when every needed label has been set, so that parsers may stop.
    pub(crate) fn is_complete(&self) -> bool {
        self.missing == 0 && !self.needs.all
    }

    /// The key `raw` below `parent`; see [`KeyTable::find`].
    pub(crate) fn find_key(
        &mut self,
        parent: KeyId,
        previous: Option<KeyId>,
        raw: &[u8],
        unescape: impl FnOnce(&[u8], &mut String) -> bool,
    ) -> Option<KeyId> {
        self.keys.find(parent, previous, raw, &mut self.names, &self.needs, unescape)
    }

    pub(crate) fn key(&self, key: KeyId) -> &Key {
        self.keys.get(key)
    }

    /// Deletes a label of any category.
    pub(crate) fn delete(&mut self, name: NameId) {
        match self.field(name) {
            Some(field) => {
                let category = field.category;
                self.put(name, Value::Deleted, category);
            }
            None if self.stream_has(name) => self.put(name, Value::Deleted, Category::Stream),
            None => return,
        }
        self.is_changed = true;
    }

    /// A value that is `range` of `source`: a reference if possible, else a copy without invalid UTF-8.
    pub(crate) fn cut(&mut self, source: Source<'_>, range: std::ops::Range<usize>, env: &Env<'_>) -> Value {
        if source.is_stored_text && env.text.is_char_boundary(range.start) && env.text.is_char_boundary(range.end) {
            return Value::Line(range.start as u32, range.end as u32);
        }
        self.copy_bytes(&source.bytes[range])
    }

    /// As [`Self::cut`], but as parsers do it: invalid UTF-8 and U+FFFD become blanks.
    pub(crate) fn cut_repaired(&mut self, source: Source<'_>, range: std::ops::Range<usize>, env: &Env<'_>) -> Value {
        if source.is_ascii && source.is_stored_text {
            return Value::Line(range.start as u32, range.end as u32);
        }
        let bytes = &source.bytes[range.clone()];
        if std::str::from_utf8(bytes).is_ok_and(|text| !text.contains(char::REPLACEMENT_CHARACTER)) {
            return self.cut(source, range, env);
        }
        let start = self.arena.len();
        push_repaired(&mut self.arena, bytes);
        self.arena_value(start)
    }

    /// A value with the text of `bytes`; what is not UTF-8 becomes U+FFFD.
    pub(crate) fn copy_bytes(&mut self, bytes: &[u8]) -> Value {
        let start = self.arena.len();
        for chunk in bytes.utf8_chunks() {
            self.arena.push_str(chunk.valid());
            if !chunk.invalid().is_empty() {
                self.arena.push(char::REPLACEMENT_CHARACTER);
            }
        }
        self.arena_value(start)
    }

    /// Appends to the arena what `write` appends, as a value. `None`, and nothing appended, when `write` says so.
    pub(crate) fn write(&mut self, write: impl FnOnce(&mut String) -> bool) -> Option<Value> {
        let start = self.arena.len();
        if write(&mut self.arena) {
            return Some(self.arena_value(start));
        }
        self.arena.truncate(start);
        None
    }

    fn arena_value(&self, start: usize) -> Value {
        Value::Arena(start as u32, self.arena.len() as u32)
    }

    /// Sets `__error__`.
    pub(crate) fn set_error(&mut self, error: ErrorKind) {
        self.is_changed = true;
        self.error = Some(error);
    }

    /// Sets `__error__` and `__error_details__`.
    pub(crate) fn set_error_details(&mut self, error: ErrorKind, details: std::fmt::Arguments<'_>) {
        use std::fmt::Write as _;
        self.set_error(error);
        let start = self.arena.len();
        let written = self.arena.write_fmt(details);
        debug_assert!(written.is_ok(), "writing to a String does not fail");
        self.details = Some((start as u32, self.arena.len() as u32));
    }

    /// As [`Self::set_error_details`], for parsers: when the query asks for `__error__` by name, the error is an
    /// answer and does not fail a metric query.
    pub(crate) fn set_parser_error(&mut self, error: ErrorKind, details: Option<std::fmt::Arguments<'_>>) {
        match details {
            Some(details) => self.set_error_details(error, details),
            None => self.set_error(error),
        }
        self.error_is_wanted = self.needs.error;
    }

    /// `drop __error__` clears the type; a label of that name which a parser set stays.
    pub(crate) fn clear_error(&mut self) {
        self.is_changed |= self.error.is_some();
        self.error = None;
    }

    pub(crate) fn clear_error_details(&mut self) {
        self.is_changed |= self.details.is_some();
        self.details = None;
    }

    pub(crate) fn error(&self) -> Option<ErrorKind> {
        self.error
    }

    pub(crate) fn error_is_wanted(&self) -> bool {
        self.error_is_wanted
    }

    pub(crate) fn error_details(&self) -> Option<&str> {
        self.details.map(|(start, end)| &self.arena[start as usize..end as usize])
    }

    pub(crate) fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// Calls `visit` for every label, in no order. Error labels come last.
    pub(crate) fn visit<'a>(&'a self, env: &Env<'a>, mut visit: impl FnMut(NameId, &'a str, &'a str, Category)) {
        for (&name, (text, value)) in self.stream_names.iter().zip(env.stream.labels.iter()) {
            if self.field(name).is_none() {
                visit(name, text, value, Category::Stream);
            }
        }
        for field in &self.fields {
            let is_hidden =
                field.name == ERROR && self.error.is_some() || field.name == ERROR_DETAILS && self.details.is_some();
            if let Some(value) = self.text(field.value, env)
                && !is_hidden
            {
                visit(field.name, self.names.text(field.name), value, field.category);
            }
        }
        if let Some(error) = self.error {
            visit(ERROR, "__error__", error.as_str(), Category::Parsed);
        }
        if let Some(details) = self.error_details() {
            visit(ERROR_DETAILS, "__error_details__", details, Category::Parsed);
        }
    }

    /// Deletes every label that `is_kept` refuses; errors stay.
    pub(crate) fn retain(&mut self, env: &Env<'_>, mut is_kept: impl FnMut(NameId, &str) -> bool) {
        for idx in 0..self.stream_names.len() {
            let name = self.stream_names[idx];
            if self.field(name).is_none() && !is_kept(name, stream_value(env, idx as u32)) {
                self.delete(name);
            }
        }
        for idx in 0..self.fields.len() {
            let Field { name, value, .. } = self.fields[idx];
            let is_error = name == ERROR || name == ERROR_DETAILS;
            let drops = !is_error && self.text(value, env).is_some_and(|text| !is_kept(name, text));
            if drops {
                self.fields[idx].value = Value::Deleted;
                self.is_changed = true;
            }
        }
    }
}

/// Appends `bytes` with a blank for each byte that is not UTF-8, and for each U+FFFD.
pub(crate) fn push_repaired(out: &mut String, bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && !text.contains(char::REPLACEMENT_CHARACTER)
    {
        return out.push_str(text);
    }
    for chunk in bytes.utf8_chunks() {
        out.extend(chunk.valid().chars().map(|c| if c == char::REPLACEMENT_CHARACTER { ' ' } else { c }));
        out.extend(chunk.invalid().iter().map(|_| ' '));
    }
}

fn stream_value<'a>(env: &Env<'a>, idx: u32) -> &'a str {
    env.stream.value(idx)
}
