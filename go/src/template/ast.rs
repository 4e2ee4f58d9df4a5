//! The tree of a template, and how error messages show its parts.

use std::fmt::{self, Write as _};

use super::References;
use super::functions::Function;
use super::number::Number;
use crate::quote::Quoted;

/// A named template: the main one, or what `define` and `block` made.
#[derive(Debug)]
pub(super) struct Tree {
    pub name: String,
    pub body: List,
}

pub(super) type List = Vec<Node>;

/// A piece of a template that stands by itself.
#[derive(Debug)]
pub(super) enum Node {
    Text(Box<str>),
    /// `{{.name}}`, by far the most frequent action, and the pipeline that it is.
    Field(Box<str>, Pipe),
    /// `{{pipeline}}`
    Action(Pipe),
    /// `{{if}}…{{else if}}…{{else}}…{{end}}`; each arm with its condition.
    If(Branches),
    /// As `If`, with dot set in the arms.
    With(Branches),
    Range(Box<Range>),
    Call(TemplateCall),
    Break,
    Continue,
}

#[derive(Debug)]
pub(super) struct Branches {
    pub arms: Vec<(Pipe, List)>,
    pub otherwise: List,
}

#[derive(Debug)]
pub(super) struct Range {
    pub pipe: Pipe,
    pub body: List,
    pub otherwise: List,
}

/// `{{template "name" pipeline}}`
#[derive(Debug)]
pub(super) struct TemplateCall {
    pub pos: usize,
    pub name: String,
    /// Which tree; `None`: there is none of that name, a run-time error.
    pub target: Option<usize>,
    pub pipe: Option<Pipe>,
}

/// `$x, $y := command | command`
#[derive(Debug)]
pub(super) struct Pipe {
    pub pos: usize,
    /// Names with their dollar.
    pub declared: Vec<Box<str>>,
    /// `=` instead of `:=`.
    pub is_assignment: bool,
    pub commands: Vec<Command>,
}

/// A word and its arguments.
#[derive(Debug)]
pub(super) struct Command {
    pub pos: usize,
    /// At least one.
    pub args: Vec<Operand>,
}

#[derive(Debug)]
pub(super) struct Operand {
    pub pos: usize,
    pub kind: OperandKind,
}

#[derive(Debug)]
pub(super) enum OperandKind {
    /// `.a.b`
    Field(Vec<Box<str>>),
    /// `(pipeline).a.b`, `function.a.b`
    Chain(Box<Operand>, Vec<Box<str>>),
    Function(&'static Function),
    Paren(Box<Pipe>),
    /// `$x.a.b`: the name with its dollar, the fields.
    Variable(Box<str>, Vec<Box<str>>),
    Bool(bool),
    Dot,
    Nil,
    Number(Box<Number>),
    /// As written, with quotes, and what it means.
    String(Box<str>, Box<[u8]>),
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.declared.is_empty() {
            f.write_str(&self.declared.join(", "))?;
            f.write_str(if self.is_assignment { " = " } else { " := " })?;
        }
        for (idx, command) in self.commands.iter().enumerate() {
            if idx > 0 {
                f.write_str(" | ")?;
            }
            write!(f, "{command}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (idx, arg) in self.args.iter().enumerate() {
            if idx > 0 {
                f.write_char(' ')?;
            }
            match &arg.kind {
                OperandKind::Paren(pipe) => write!(f, "({pipe})")?,
                _ => write!(f, "{arg}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = |f: &mut fmt::Formatter<'_>, names: &[Box<str>]| {
            names.iter().try_for_each(|name| {
                f.write_char('.')?;
                f.write_str(name)
            })
        };
        match &self.kind {
            OperandKind::Field(names) => fields(f, names),
            OperandKind::Chain(base, names) => {
                match &base.kind {
                    OperandKind::Paren(pipe) => write!(f, "({pipe})")?,
                    _ => write!(f, "{base}")?,
                }
                fields(f, names)
            }
            OperandKind::Function(function) => f.write_str(function.name),
            OperandKind::Paren(pipe) => write!(f, "{pipe}"),
            OperandKind::Variable(name, names) => {
                f.write_str(name)?;
                fields(f, names)
            }
            OperandKind::Bool(value) => write!(f, "{value}"),
            OperandKind::Dot => f.write_char('.'),
            OperandKind::Nil => f.write_str("nil"),
            OperandKind::Number(number) => f.write_str(&number.text),
            OperandKind::String(quoted, _) => f.write_str(quoted),
        }
    }
}

impl fmt::Display for TemplateCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{{template {}", Quoted(&self.name))?;
        if let Some(pipe) = &self.pipe {
            write!(f, " {pipe}")?;
        }
        f.write_str("}}")
    }
}

/// True when nothing but blanks is in `list`: such a tree may be defined again.
pub(super) fn is_empty(list: &List) -> bool {
    list.iter().all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()))
}

/// What there is to know about a tree before it is executed.
#[derive(Default)]
pub(super) struct Facts {
    pub references: References,
    pub patterns: Vec<Box<[u8]>>,
}

impl Facts {
    pub(super) fn list(&mut self, list: &List) {
        for node in list {
            match node {
                Node::Text(_) | Node::Break | Node::Continue => {}
                Node::Field(_, pipe) | Node::Action(pipe) => self.pipe(pipe),
                Node::If(branches) | Node::With(branches) => {
                    for (pipe, body) in &branches.arms {
                        self.pipe(pipe);
                        self.list(body);
                    }
                    self.list(&branches.otherwise);
                }
                Node::Range(range) => {
                    self.pipe(&range.pipe);
                    self.list(&range.body);
                    self.list(&range.otherwise);
                }
                Node::Call(call) => call.pipe.iter().for_each(|pipe| self.pipe(pipe)),
            }
        }
    }

    fn pipe(&mut self, pipe: &Pipe) {
        for command in &pipe.commands {
            command.args.iter().for_each(|arg| self.operand(arg));
            if let [Operand { kind: OperandKind::Function(function), .. }, args @ ..] = &command.args[..]
                && let Some(Operand { kind: OperandKind::String(_, pattern), .. }) =
                    function.pattern.and_then(|idx| args.get(idx))
            {
                self.patterns.push(pattern.clone());
            }
        }
    }

    fn operand(&mut self, operand: &Operand) {
        match &operand.kind {
            OperandKind::Field(names) => self.name(&names[0]),
            // A variable may hold the data.
            OperandKind::Variable(variable, names) => match names.first() {
                Some(name) => self.name(name),
                None => self.references.all |= &**variable == "$",
            },
            OperandKind::Chain(base, names) => {
                names.iter().for_each(|name| self.name(name));
                self.operand(base);
            }
            OperandKind::Function(function) => match function.name {
                "__line__" => self.references.line = true,
                "__timestamp__" => self.references.timestamp = true,
                _ => {}
            },
            OperandKind::Paren(pipe) => self.pipe(pipe),
            OperandKind::Dot => self.references.all = true,
            OperandKind::Bool(_) | OperandKind::Nil | OperandKind::Number(_) | OperandKind::String(..) => {}
        }
    }

    fn name(&mut self, name: &str) {
        if !self.references.names.iter().any(|known| known == name) {
            self.references.names.push(name.to_owned());
        }
    }
}
