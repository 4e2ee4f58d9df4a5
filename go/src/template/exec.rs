//! Walks the trees of a template over its data.
//!
//! `at` follows the evaluation exactly as in Go, since messages name the part that was evaluated last:
//! `template: line:1:9: executing "line" at <5>: expected string; found 5`.
//!
//! Source: Go, package text/template; the messages are its own.

use std::fmt;

use super::ast::{Branches, Command, List, Node, Operand, OperandKind, Pipe, Range, TemplateCall};
use super::functions::{Args, Body, Call, Function, Param, STRING_BYTES_MAX};
use super::number::Ideal;
use super::print::write_value;
use super::value::{Data, Elements, IntKind, Value};
use super::{Lookup, Template, TemplateError, methods};
use crate::quote::Quoted;

/// How deep blocks, parentheses and template calls may nest at run time. Go allows 100000 calls; our threads have
/// small stacks.
pub const DEPTH_MAX: usize = 200;

/// How many nodes, calls and iterations one execution may take, and how many times 64 bytes its functions may make:
/// `{{range 1000000000}}` is a valid template.
pub const STEPS_MAX: u64 = 1_000_000;

/// Executes `template` and appends its output to `out`.
pub(super) fn execute<'a>(
    template: &'a Template,
    lookup: &'a dyn Lookup,
    out: &mut Vec<u8>,
) -> Result<(), TemplateError> {
    let tree = &template.trees[0];
    let data = Slot::plain(Value::Data(Data { lookup, elements: template.data }));
    let mut state = State {
        template,
        lookup,
        out_start: out.len(),
        out,
        tree: &tree.name,
        variables: Vec::new(),
        frame: 0,
        dollar: data.clone(),
        at: At::Start,
        depth: 0,
        steps: 0,
    };
    state.walk(&data, &tree.body).map(|_| ())
}

type Result<T, E = TemplateError> = std::result::Result<T, E>;

/// A value where it lies: in a place declared as `interface {}`, or as itself.
#[derive(Debug, Clone)]
struct Slot<'a> {
    value: Value<'a>,
    /// Messages show the declared type. A nil in such a place is a value; one elsewhere is none.
    is_interface: bool,
}

impl<'a> Slot<'a> {
    fn plain(value: Value<'a>) -> Self {
        Self { value, is_interface: false }
    }

    fn element(value: Value<'a>, elements: Elements) -> Self {
        Self { value, is_interface: elements == Elements::Any }
    }

    fn type_name(&self) -> &'static str {
        if self.is_interface { "interface {}" } else { self.value.type_name() }
    }
}

/// What is being evaluated.
#[derive(Clone, Copy)]
enum At<'a> {
    Start,
    Pipe(&'a Pipe),
    Command(&'a Command),
    Operand(&'a Operand),
    Call(&'a TemplateCall),
}

impl At<'_> {
    fn pos(&self) -> usize {
        match self {
            Self::Start => 0,
            Self::Pipe(pipe) => pipe.pos,
            Self::Command(command) => command.pos,
            Self::Operand(operand) => operand.pos,
            Self::Call(call) => call.pos,
        }
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => Ok(()),
            Self::Pipe(pipe) => pipe.fmt(f),
            Self::Command(command) => command.fmt(f),
            Self::Operand(operand) => operand.fmt(f),
            Self::Call(call) => call.fmt(f),
        }
    }
}

/// How a list of nodes ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Normal,
    Break,
    Continue,
}

struct State<'a, 'o> {
    template: &'a Template,
    lookup: &'a dyn Lookup,
    out: &'o mut Vec<u8>,
    out_start: usize,
    /// Name of the tree under way.
    tree: &'a str,
    /// Variables by name, innermost last; those before `frame` belong to callers.
    variables: Vec<(&'a str, Slot<'a>)>,
    frame: usize,
    /// `$`
    dollar: Slot<'a>,
    at: At<'a>,
    depth: usize,
    steps: u64,
}

impl<'a> State<'a, '_> {
    fn error(&self, message: impl fmt::Display) -> TemplateError {
        let before = &self.template.text[..self.at.pos()];
        let line = 1 + memchr::memchr_iter(b'\n', before.as_bytes()).count();
        let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1);
        let (name, tree) = (&self.template.name, Quoted(self.tree));
        TemplateError(format!("template: {name}:{line}:{column}: executing {tree} at <{}>: {message}", self.at))
    }

    fn step(&mut self) -> Result<()> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return Err(self.error(format_args!("exceeded maximum number of steps ({STEPS_MAX})")));
        }
        Ok(())
    }

    fn enter(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.error(format_args!("exceeded maximum template depth ({DEPTH_MAX})")));
        }
        Ok(())
    }

    fn check_output(&self) -> Result<()> {
        if self.out.len() - self.out_start > STRING_BYTES_MAX {
            return Err(self.error(format_args!("output is larger than {STRING_BYTES_MAX} bytes")));
        }
        Ok(())
    }

    fn walk(&mut self, dot: &Slot<'a>, list: &'a List) -> Result<Flow> {
        self.enter()?;
        for node in list {
            self.step()?;
            match node {
                Node::Text(text) => {
                    self.out.extend_from_slice(text.as_bytes());
                    self.check_output()?;
                }
                Node::Field(name, pipe) => match &dot.value {
                    Value::Data(data) => {
                        match data.lookup.get(name) {
                            Some(value) => write_value(self.out, &value),
                            None if data.elements == Elements::Strings => {}
                            None => write_value(self.out, &Value::Nil),
                        }
                        self.check_output()?;
                    }
                    _ => self.action(dot, pipe)?,
                },
                Node::Action(pipe) => self.action(dot, pipe)?,
                Node::If(branches) => match self.branch(dot, branches, false)? {
                    Flow::Normal => {}
                    flow => return self.leave(flow),
                },
                Node::With(branches) => match self.branch(dot, branches, true)? {
                    Flow::Normal => {}
                    flow => return self.leave(flow),
                },
                Node::Range(range) => match self.range(dot, range)? {
                    Flow::Normal => {}
                    flow => return self.leave(flow),
                },
                Node::Call(call) => self.call_template(dot, call)?,
                Node::Break => return self.leave(Flow::Break),
                Node::Continue => return self.leave(Flow::Continue),
            }
        }
        self.leave(Flow::Normal)
    }

    fn leave(&mut self, flow: Flow) -> Result<Flow> {
        self.depth -= 1;
        Ok(flow)
    }

    fn action(&mut self, dot: &Slot<'a>, pipe: &'a Pipe) -> Result<()> {
        let value = self.pipeline(dot, pipe)?;
        if pipe.declared.is_empty() {
            write_value(self.out, &value);
            self.check_output()?;
        }
        Ok(())
    }

    fn branch(&mut self, dot: &Slot<'a>, branches: &'a Branches, sets_dot: bool) -> Result<Flow> {
        // Variables of a condition are in sight in all later arms.
        let mark = self.variables.len();
        let mut chosen = None;
        for (pipe, body) in &branches.arms {
            let value = self.pipeline(dot, pipe)?;
            if value.is_true() {
                chosen = Some((sets_dot.then(|| Slot::plain(value)), body));
                break;
            }
        }
        let flow = match chosen {
            Some((Some(dot), body)) => self.walk(&dot, body)?,
            Some((None, body)) => self.walk(dot, body)?,
            None => self.walk(dot, &branches.otherwise)?,
        };
        self.variables.truncate(mark);
        Ok(flow)
    }

    fn range(&mut self, dot: &Slot<'a>, range: &'a Range) -> Result<Flow> {
        let mark = self.variables.len();
        let value = self.pipeline(dot, &range.pipe)?;
        let mut ran = false;
        match &value {
            Value::Nil => {}
            Value::Int(kind, count) => {
                if range.pipe.declared.len() > 1 {
                    let message = format!("can't use {} to iterate over more than one variable", Shown(&value));
                    return Err(self.error(message));
                }
                for n in 0..*count {
                    ran = true;
                    let element = Slot::plain(Value::Int(*kind, n));
                    if self.iterate(range, Slot::plain(Value::Nil), element)? == Flow::Break {
                        break;
                    }
                }
            }
            Value::List(list) => {
                for (idx, element) in list.values().iter().enumerate() {
                    ran = true;
                    let index = Slot::plain(Value::int(idx as i64));
                    if self.iterate(range, index, Slot::element(element.clone(), list.elements))? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Map(_) | Value::Data(_) => {
                let elements = value.map_elements().unwrap_or(Elements::Any);
                for (key, element) in value.map_entries().unwrap_or_default() {
                    ran = true;
                    let element = Slot::element(element, elements);
                    if self.iterate(range, Slot::plain(Value::Str(key)), element)? == Flow::Break {
                        break;
                    }
                }
            }
            other => return Err(self.error(format_args!("range can't iterate over {}", Shown(other)))),
        }
        let mut flow = Flow::Normal;
        if !ran {
            flow = self.walk(dot, &range.otherwise)?;
        }
        self.variables.truncate(mark);
        // A break in the else part, which the parser allows inside of an outer loop, still ends only this one.
        Ok(if flow == Flow::Break { Flow::Normal } else { flow })
    }

    fn iterate(&mut self, range: &'a Range, index: Slot<'a>, element: Slot<'a>) -> Result<Flow> {
        self.step()?;
        let declared = &range.pipe.declared;
        let top = self.variables.len();
        match (&declared[..], range.pipe.is_assignment) {
            ([], _) => {}
            ([name], true) => self.set_variable(name, element.clone())?,
            ([name, second, ..], true) => {
                self.set_variable(name, index)?;
                self.set_variable(second, element.clone())?;
            }
            // The pipeline has pushed the variables; they are on top.
            ([_], false) => self.variables[top - 1].1 = element.clone(),
            (_, false) => {
                self.variables[top - 2].1 = index;
                self.variables[top - 1].1 = element.clone();
            }
        }
        let flow = self.walk(&element, &range.body)?;
        self.variables.truncate(top);
        Ok(flow)
    }

    fn call_template(&mut self, dot: &Slot<'a>, call: &'a TemplateCall) -> Result<()> {
        self.at = At::Call(call);
        let Some(tree) = call.target.map(|idx| &self.template.trees[idx]) else {
            return Err(self.error(format_args!("template {} not defined", Quoted(&call.name))));
        };
        let dot = match &call.pipe {
            Some(pipe) => Slot::plain(self.pipeline(dot, pipe)?),
            None => Slot::plain(Value::Nil),
        };
        // The template called sees none of our variables.
        let (mark, at) = (self.variables.len(), self.at);
        let frame = std::mem::replace(&mut self.frame, mark);
        let dollar = std::mem::replace(&mut self.dollar, dot.clone());
        let name = std::mem::replace(&mut self.tree, &tree.name);
        self.walk(&dot, &tree.body)?;
        self.variables.truncate(mark);
        (self.frame, self.dollar, self.tree, self.at) = (frame, dollar, name, at);
        Ok(())
    }

    fn variable(&self, name: &str) -> Result<Slot<'a>> {
        let known = self.variables[self.frame..].iter().rev().find(|(known, _)| *known == name);
        match known {
            Some((_, slot)) => Ok(slot.clone()),
            None if name == "$" => Ok(self.dollar.clone()),
            None => Err(self.error(format_args!("undefined variable: {name}"))),
        }
    }

    fn set_variable(&mut self, name: &str, slot: Slot<'a>) -> Result<()> {
        let known = self.variables[self.frame..].iter_mut().rev().find(|(known, _)| *known == name);
        match known {
            Some((_, known)) => *known = slot,
            None if name == "$" => self.dollar = slot,
            None => return Err(self.error(format_args!("undefined variable: {name}"))),
        }
        Ok(())
    }

    fn pipeline(&mut self, dot: &Slot<'a>, pipe: &'a Pipe) -> Result<Value<'a>> {
        self.enter()?;
        self.at = At::Pipe(pipe);
        let mut last = None;
        for command in &pipe.commands {
            self.step()?;
            // What lay in an `interface {}` is taken out between commands.
            last = Some(Slot::plain(self.command(dot, command, last)?.value));
        }
        let value = last.map_or(Value::Nil, |slot| slot.value);
        for name in &pipe.declared {
            let slot = Slot::plain(value.clone());
            if pipe.is_assignment {
                self.set_variable(name, slot)?;
            } else {
                self.variables.push((name, slot));
            }
        }
        self.depth -= 1;
        Ok(value)
    }

    /// `last` is the value piped in.
    fn command(&mut self, dot: &Slot<'a>, command: &'a Command, last: Option<Slot<'a>>) -> Result<Slot<'a>> {
        let first = &command.args[0];
        let args = &command.args[1..];
        match &first.kind {
            OperandKind::Field(names) => {
                self.at = At::Operand(first);
                self.field_chain(dot, dot.clone(), first, names, args, last)
            }
            OperandKind::Chain(base, names) => self.chain(dot, first, base, names, args, last),
            OperandKind::Function(function) => {
                self.at = At::Operand(first);
                self.call(dot, function, None, At::Command(command), args, last)
            }
            OperandKind::Paren(pipe) => {
                self.not_a_function(first, args, &last)?;
                self.pipeline(dot, pipe).map(Slot::plain)
            }
            OperandKind::Variable(name, names) => self.variable_chain(dot, first, name, names, args, last),
            _ => {
                self.at = At::Operand(first);
                self.not_a_function(first, args, &last)?;
                match &first.kind {
                    OperandKind::Dot => Ok(dot.clone()),
                    OperandKind::Nil => Err(self.error("nil is not a command")),
                    _ => self.constant(first).map(Slot::plain),
                }
            }
        }
    }

    fn not_a_function(&self, first: &Operand, args: &[Operand], last: &Option<Slot<'a>>) -> Result<()> {
        if !args.is_empty() || last.is_some() {
            return Err(self.error(format_args!("can't give argument to non-function {first}")));
        }
        Ok(())
    }

    /// The value of a literal where any type will do.
    fn constant(&mut self, operand: &'a Operand) -> Result<Value<'a>> {
        self.at = At::Operand(operand);
        match &operand.kind {
            OperandKind::Bool(value) => Ok(Value::Bool(*value)),
            OperandKind::String(_, text) => Ok(Value::bytes(text)),
            OperandKind::Number(number) => match number.ideal() {
                Ideal::Int(value) => Ok(Value::int(value)),
                Ideal::Float(value) => Ok(Value::Float(value)),
                Ideal::Complex(real, imaginary) => Ok(Value::Complex(real, imaginary)),
                Ideal::Overflow => Err(self.error(format_args!("{} overflows int", number.text))),
            },
            _ => Err(self.error(format_args!("can't handle assignment of {operand} to empty interface argument"))),
        }
    }

    /// `(pipeline).a.b`
    fn chain(
        &mut self,
        dot: &Slot<'a>,
        operand: &'a Operand,
        base: &'a Operand,
        names: &'a [Box<str>],
        args: &'a [Operand],
        last: Option<Slot<'a>>,
    ) -> Result<Slot<'a>> {
        self.at = At::Operand(operand);
        if matches!(base.kind, OperandKind::Nil) {
            return Err(self.error(format_args!("indirection through explicit nil in {operand}")));
        }
        let receiver = self.arg(dot, None, base)?;
        self.field_chain(dot, receiver, operand, names, args, last)
    }

    /// `$x.a.b`
    fn variable_chain(
        &mut self,
        dot: &Slot<'a>,
        operand: &'a Operand,
        name: &'a str,
        names: &'a [Box<str>],
        args: &'a [Operand],
        last: Option<Slot<'a>>,
    ) -> Result<Slot<'a>> {
        self.at = At::Operand(operand);
        let value = self.variable(name)?;
        if names.is_empty() {
            self.not_a_function(operand, args, &last)?;
            return Ok(value);
        }
        self.field_chain(dot, value, operand, names, args, last)
    }

    /// The last name may be a method and gets the arguments.
    fn field_chain(
        &mut self,
        dot: &Slot<'a>,
        mut receiver: Slot<'a>,
        operand: &'a Operand,
        names: &'a [Box<str>],
        args: &'a [Operand],
        mut last: Option<Slot<'a>>,
    ) -> Result<Slot<'a>> {
        for (idx, name) in names.iter().enumerate() {
            let is_last = idx + 1 == names.len();
            let args = if is_last { args } else { &[] };
            let piped = if is_last { last.take() } else { None };
            receiver = self.field(dot, name, operand, args, piped, receiver)?;
        }
        Ok(receiver)
    }

    fn field(
        &mut self,
        dot: &Slot<'a>,
        name: &'a str,
        operand: &'a Operand,
        args: &'a [Operand],
        last: Option<Slot<'a>>,
        receiver: Slot<'a>,
    ) -> Result<Slot<'a>> {
        if matches!(receiver.value, Value::Nil) {
            if receiver.is_interface {
                return Err(self.error(format_args!("nil pointer evaluating interface {{}}.{name}")));
            }
            return Ok(receiver);
        }
        if let Some(method) = methods::find(&receiver.value, name) {
            return self.call(dot, method, Some(receiver.value), At::Operand(operand), args, last);
        }
        if matches!(receiver.value, Value::Time(_)) && matches!(name, "wall" | "ext" | "loc") {
            return Err(self.error(format_args!("{name} is an unexported field of struct type time.Time")));
        }
        let Some(elements) = receiver.value.map_elements() else {
            return Err(self.error(format_args!("can't evaluate field {name} in type {}", receiver.type_name())));
        };
        if !args.is_empty() || last.is_some() {
            return Err(self.error(format_args!("{name} is not a method but has arguments")));
        }
        match receiver.value.at_key(name.as_bytes()) {
            Ok(Some(value)) => Ok(Slot::element(value, elements)),
            // LogQL asks for zero values of missing keys: "" among strings, among others a nil that is a value.
            _ if elements == Elements::Strings => Ok(Slot::plain(Value::from(""))),
            _ => Ok(Slot { value: Value::Nil, is_interface: self.template.data == Elements::Strings }),
        }
    }

    /// Calls a function, or a method of `receiver`. `at_failure` is where its own errors are placed.
    fn call(
        &mut self,
        dot: &Slot<'a>,
        function: &'static Function,
        receiver: Option<Value<'a>>,
        at_failure: At<'a>,
        args: &'a [Operand],
        last: Option<Slot<'a>>,
    ) -> Result<Slot<'a>> {
        self.step()?;
        let (name, params) = (function.name, function.params);
        let count = args.len() + usize::from(last.is_some());
        if function.variadic.is_some() && count < params.len() {
            let message = format!("wrong number of args for {name}: want at least {} got {}", params.len(), args.len());
            return Err(self.error(message));
        }
        if function.variadic.is_none() && count != params.len() {
            return Err(self.error(format_args!("wrong number of args for {name}: want {} got {count}", params.len())));
        }
        let is_or = matches!(function.body, Body::Or);
        if is_or || matches!(function.body, Body::And) {
            return self.short_circuit(dot, is_or, args, last);
        }
        let mut values = Args::new();
        values.extend(receiver);
        for (idx, arg) in args.iter().enumerate() {
            let param = params.get(idx).copied().or(function.variadic);
            values.push(self.arg(dot, param, arg)?.value);
        }
        if let Some(last) = last {
            let param = params.get(count - 1).copied().or(function.variadic);
            values.push(self.validate(last, param)?.value);
        }
        let result = match function.body {
            Body::Call(body) => {
                let regexes = &self.template.regexes;
                body(&mut Call { args: values, data: self.lookup, regexes })
            }
            Body::And | Body::Or | Body::CallValue => Err(no_function_value(&values[0], args).into()),
        };
        match result {
            Ok(value) => {
                // Long strings cost more than short ones: this bounds the bytes made per execution to 64 MB.
                if let Value::Str(text) = &value {
                    self.steps += text.len() as u64 / 64;
                }
                Ok(Slot::plain(value))
            }
            Err(error) => {
                self.at = at_failure;
                Err(self.error(format_args!("error calling {name}: {}", error.0)))
            }
        }
    }

    /// `and`, `or`: the first argument that decides, else the last.
    fn short_circuit(
        &mut self,
        dot: &Slot<'a>,
        is_or: bool,
        args: &'a [Operand],
        last: Option<Slot<'a>>,
    ) -> Result<Slot<'a>> {
        let mut value = Slot::plain(Value::Nil);
        for arg in args {
            value = self.arg(dot, Some(Param::Raw), arg)?;
            if value.value.is_true() == is_or {
                return Ok(value);
            }
        }
        Ok(last.unwrap_or(value))
    }

    /// Evaluates an argument; `param` `None`: it is the head of a chain.
    fn arg(&mut self, dot: &Slot<'a>, param: Option<Param>, operand: &'a Operand) -> Result<Slot<'a>> {
        self.at = At::Operand(operand);
        let slot = match &operand.kind {
            OperandKind::Dot => dot.clone(),
            OperandKind::Nil => {
                let param = param.unwrap_or(Param::Any);
                if !param.can_be_nil() {
                    return Err(self.error(format_args!("cannot assign nil to {}", param.type_name())));
                }
                return Ok(Slot::plain(Value::Nil));
            }
            OperandKind::Field(names) => self.field_chain(dot, dot.clone(), operand, names, &[], None)?,
            OperandKind::Variable(name, names) => self.variable_chain(dot, operand, name, names, &[], None)?,
            OperandKind::Paren(pipe) => Slot::plain(self.pipeline(dot, pipe)?),
            OperandKind::Function(function) => self.call(dot, function, None, At::Operand(operand), &[], None)?,
            OperandKind::Chain(base, names) => self.chain(dot, operand, base, names, &[], None)?,
            OperandKind::Bool(_) | OperandKind::Number(_) | OperandKind::String(..) => {
                return self.literal(param.unwrap_or(Param::Any), operand).map(Slot::plain);
            }
        };
        self.validate(slot, param)
    }

    /// A literal as an argument of type `param`.
    fn literal(&mut self, param: Param, operand: &'a Operand) -> Result<Value<'a>> {
        let (value, wanted) = match (param, &operand.kind) {
            (Param::Any | Param::Raw, _) => return self.constant(operand),
            (Param::Bool, OperandKind::Bool(value)) => (Some(Value::Bool(*value)), "bool"),
            (Param::Bool, _) => (None, "bool"),
            (Param::Str, OperandKind::String(_, text)) => (Some(Value::bytes(text)), "string"),
            (Param::Str, _) => (None, "string"),
            (Param::Int, OperandKind::Number(number)) => (number.int.map(Value::int), "integer"),
            (Param::Duration, OperandKind::Number(number)) => {
                (number.int.map(|ns| Value::Int(IntKind::Duration, ns)), "integer")
            }
            (Param::Int | Param::Duration, _) => (None, "integer"),
            (Param::Float, OperandKind::Number(number)) => (number.float.map(Value::Float), "float"),
            (Param::Float, _) => (None, "float"),
            (Param::Time, _) => {
                let message = format!("can't handle {operand} for arg of type {}", param.type_name());
                return Err(self.error(message));
            }
        };
        value.ok_or_else(|| self.error(format_args!("expected {wanted}; found {operand}")))
    }

    /// Checks that a value can be passed as `param`.
    fn validate(&self, slot: Slot<'a>, param: Option<Param>) -> Result<Slot<'a>> {
        let Some(param) = param else { return Ok(slot) };
        let wanted = param.type_name();
        match &slot.value {
            Value::Nil if param.can_be_nil() => Ok(slot),
            Value::Nil if !slot.is_interface => Err(self.error(format_args!("invalid value; expected {wanted}"))),
            Value::Nil => {
                Err(self.error(format_args!("wrong type for value; expected {wanted}; got {}", slot.type_name())))
            }
            value if param.accepts(value) => Ok(slot),
            value => {
                Err(self.error(format_args!("wrong type for value; expected {wanted}; got {}", value.type_name())))
            }
        }
    }
}

/// What `call` says: there are no function values here.
fn no_function_value(callee: &Value<'_>, args: &[Operand]) -> String {
    if matches!(callee, Value::Nil) {
        return "call of nil".to_owned();
    }
    let shown = match (args.first(), callee) {
        (Some(operand), _) => operand.to_string(),
        (None, Value::Str(text)) => String::from_utf8_lossy(text).into_owned(),
        (None, other) => format!("<{} Value>", other.type_name()),
    };
    format!("non-function {shown} of type {}", callee.type_name())
}

/// A value as messages show it.
struct Shown<'v, 'a>(&'v Value<'a>);

impl fmt::Display for Shown<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::new();
        write_value(&mut text, self.0);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}
