//! Puts the lines of a block into groups that share a template.
//!
//! Lines with the same static text, words included, are a *group*; groups that differ in words alone are a *shape*.
//! Within a shape a word that has few values stays static, so that a search for it is answered by the template; one
//! with many becomes a variable, so that templates stay few. A log line's user agent or table name is of the second
//! sort, its level or HTTP method of the first.

use hashbrown::{HashMap, HashSet, HashTable};

use super::super::dict::{TemplateDict, Variable};
use super::phrase::Phrases;
use super::token::{self, Kind, Token, hash_bytes};
use crate::model::Rows;

/// A template needs this many rows in a block; lines of rarer ones are kept as they are.
const TEMPLATE_ROWS_MIN: usize = 3;
/// A word position with more values than this is a variable...
const WORD_VALUES_MAX: usize = 24;
/// ...and so is one with more than one value per this many rows: a template must pay for its columns.
const ROWS_PER_VALUE: usize = 16;

const NO_GROUP: u32 = u32::MAX;

/// Rows of one template.
#[derive(Debug)]
pub(crate) struct TemplateRows {
    /// Number in the dictionary.
    pub(crate) template: u32,
    /// Indices of the tokens that are its variables, the same in each row.
    pub(crate) tokens: Vec<u32>,
    /// Ascending.
    pub(crate) rows: Vec<u32>,
}

/// The lines of a block in groups; its buffers are reused.
#[derive(Default)]
pub(crate) struct Shaper {
    tokens: Vec<Token>,
    /// Where the tokens of a row end.
    token_ends: Vec<u32>,
    group_of: Vec<u32>,
    groups: Vec<Group>,
    group_by_hash: HashTable<u32>,
}

#[derive(Debug)]
struct Group {
    hash: u64,
    first_row: u32,
    rows: u32,
    /// Where the rows go: an index into the templates of the block, or none.
    target: u32,
}

impl Shaper {
    /// Tokens of `row`.
    pub(crate) fn tokens(&self, row: u32) -> &[Token] {
        let row = row as usize;
        let start = if row == 0 { 0 } else { self.token_ends[row - 1] as usize };
        &self.tokens[start..self.token_ends[row] as usize]
    }

    /// Finds the templates of `rows`, adding new ones to `dict`. Rows that are in none are appended to `plain`.
    pub(crate) fn shape(&mut self, rows: &Rows, dict: &mut TemplateDict, plain: &mut Vec<u32>) -> Vec<TemplateRows> {
        self.tokenize(rows);
        let mut templates = Vec::new();
        for groups in self.shapes(rows) {
            self.split_shape(rows, &groups, dict, &mut templates);
        }
        for row in 0..rows.len() {
            let group = self.group_of[row];
            let target = if group == NO_GROUP { NO_GROUP } else { self.groups[group as usize].target };
            if target != NO_GROUP && self.has_text_of(rows, row, dict, &templates[target as usize]) {
                templates[target as usize].rows.push(row as u32);
            } else {
                plain.push(row as u32);
            }
        }
        templates.retain(|template| !template.rows.is_empty());
        templates
    }

    fn tokenize(&mut self, rows: &Rows) {
        let phrases = Phrases::find(rows.len(), |row| rows.line(row));
        self.tokens.clear();
        self.token_ends.clear();
        self.group_of.clear();
        self.groups.clear();
        self.group_by_hash.clear();
        for row in 0..rows.len() {
            let before = self.tokens.len();
            let hash = token::tokenize(rows.line(row), rows.timestamps[row], &phrases, &mut self.tokens);
            let group = match hash {
                None => {
                    self.tokens.truncate(before);
                    NO_GROUP
                }
                Some(hash) => {
                    let groups = &mut self.groups;
                    let entry = self.group_by_hash.entry(
                        hash,
                        |&group| groups[group as usize].hash == hash,
                        |&group| groups[group as usize].hash,
                    );
                    let new = groups.len() as u32;
                    let group = *entry.or_insert(new).get();
                    if group == new {
                        groups.push(Group { hash, first_row: row as u32, rows: 0, target: NO_GROUP });
                    }
                    groups[group as usize].rows += 1;
                    group
                }
            };
            self.group_of.push(group);
            self.token_ends.push(self.tokens.len() as u32);
        }
    }

    /// Groups by shape, in order of first appearance.
    fn shapes(&self, rows: &Rows) -> Vec<Vec<u32>> {
        let mut by_hash: HashMap<u64, usize> = HashMap::new();
        let mut shapes: Vec<Vec<u32>> = Vec::new();
        for (index, group) in self.groups.iter().enumerate() {
            let line = rows.line(group.first_row as usize);
            let mut hash = 0_u64;
            let mut end = 0;
            let mut add = |value: u64| hash = (hash.rotate_left(23) ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            for token in self.tokens(group.first_row) {
                add(hash_bytes(&line[end..usize::from(token.start)]));
                add(token.kind as u64 | u64::from(token.format) << 8);
                end = token.end();
            }
            add(hash_bytes(&line[end..]));
            let shape = *by_hash.entry(hash).or_insert(shapes.len());
            if shape == shapes.len() {
                shapes.push(Vec::new());
            }
            shapes[shape].push(index as u32);
        }
        shapes
    }

    /// Decides which words of a shape are variables, and gives its groups templates.
    fn split_shape(&mut self, rows: &Rows, groups: &[u32], dict: &mut TemplateDict, out: &mut Vec<TemplateRows>) {
        let row_count: usize = groups.iter().map(|&g| self.groups[g as usize].rows as usize).sum();
        if row_count < TEMPLATE_ROWS_MIN {
            return;
        }
        let first = self.groups[groups[0] as usize].first_row;
        let kinds: Vec<Kind> = self.tokens(first).iter().map(|token| token.kind).collect();
        let word = |group: u32, position: usize| {
            let row = self.groups[group as usize].first_row;
            // Another shape with the same hash would have other tokens: it is found out by its text later.
            self.tokens(row).get(position).map_or(0, |token| hash_bytes(token.text(rows.line(row as usize))))
        };
        // Positions of words that differ and stay static, with their number of values.
        let mut forks: Vec<(usize, usize)> = Vec::new();
        let mut is_variable: Vec<bool> = kinds.iter().map(|kind| *kind != Kind::Word).collect();
        let limit = (row_count / ROWS_PER_VALUE).clamp(1, WORD_VALUES_MAX);
        if groups.len() > 1 {
            for position in 0..kinds.len() {
                if kinds[position] != Kind::Word {
                    continue;
                }
                let mut values = HashSet::new();
                for &group in groups {
                    values.insert(word(group, position));
                    if values.len() > limit {
                        break;
                    }
                }
                if values.len() > limit {
                    is_variable[position] = true;
                } else if values.len() > 1 {
                    forks.push((position, values.len()));
                }
            }
        }
        // One template per combination of the forking words, unless that makes too many.
        let mut combinations: HashMap<u64, Vec<u32>> = HashMap::new();
        loop {
            combinations.clear();
            for &group in groups {
                let hash = forks.iter().fold(0_u64, |hash, &(position, _)| {
                    (hash.rotate_left(11) ^ word(group, position)).wrapping_mul(0x9E37_79B9_7F4A_7C15)
                });
                combinations.entry(hash).or_default().push(group);
            }
            let Some(widest) = (0..forks.len()).max_by_key(|&index| forks[index].1) else { break };
            if combinations.len() * ROWS_PER_VALUE <= row_count {
                break;
            }
            is_variable[forks.swap_remove(widest).0] = true;
        }
        let mut combinations: Vec<Vec<u32>> = combinations.into_values().collect();
        combinations.sort_unstable();
        let tokens: Vec<u32> = (0..kinds.len() as u32).filter(|&at| is_variable[at as usize]).collect();
        for groups in combinations {
            let row_count: usize = groups.iter().map(|&g| self.groups[g as usize].rows as usize).sum();
            if row_count < TEMPLATE_ROWS_MIN {
                continue;
            }
            let Some(template) = self.intern(rows, groups[0], &tokens, dict) else { continue };
            // The same template may come from another shape: a word that is static here may be part of a mixed word
            // there. They may share it as long as their variables are the same tokens, so they do not.
            let target = out.len() as u32;
            out.push(TemplateRows { template, tokens: tokens.clone(), rows: Vec::with_capacity(row_count) });
            for group in groups {
                self.groups[group as usize].target = target;
            }
        }
    }

    /// Adds the template of a group's first line to the dictionary.
    fn intern(&self, rows: &Rows, group: u32, variables: &[u32], dict: &mut TemplateDict) -> Option<u32> {
        let row = self.groups[group as usize].first_row;
        let line = rows.line(row as usize);
        let tokens = self.tokens(row);
        let mut text = Vec::with_capacity(line.len());
        let mut piece_ends = Vec::with_capacity(variables.len() + 1);
        let mut kinds = Vec::with_capacity(variables.len());
        let mut end = 0;
        for &at in variables {
            let token = tokens[at as usize];
            text.extend_from_slice(&line[end..usize::from(token.start)]);
            piece_ends.push(text.len() as u32);
            kinds.push(Variable { kind: token.kind, format: token.format });
            end = token.end();
        }
        text.extend_from_slice(&line[end..]);
        piece_ends.push(text.len() as u32);
        dict.intern(&text, &piece_ends, &kinds)
    }

    /// True when the line has the static text of the template: hashes brought it here, bytes decide.
    fn has_text_of(&self, rows: &Rows, row: usize, dict: &TemplateDict, of: &TemplateRows) -> bool {
        let Some(template) = dict.get(of.template as usize) else { return false };
        let line = rows.line(row);
        let tokens = self.tokens(row as u32);
        let mut end = 0;
        for (index, &at) in of.tokens.iter().enumerate() {
            let Some(token) = tokens.get(at as usize) else { return false };
            let variable = template.variables[index];
            let same = token.kind == variable.kind
                && token.format == variable.format
                && line[end..usize::from(token.start)] == *template.piece(index);
            if !same {
                return false;
            }
            end = token.end();
        }
        line[end..] == *template.piece(of.tokens.len())
    }
}
