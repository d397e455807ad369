//! A document as a tree of nodes that know where they stand; compact, and sharing what aliases repeat.

use std::borrow::Cow;

/// Where something stands in its file: line and column from 1, columns and length in characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
    /// How many characters it spans on its line.
    pub length: u32,
}

/// One document.
#[derive(Debug, Default)]
pub struct Tree<'t> {
    nodes: Vec<Node<'t>>,
    /// The children of every collection, one run after the other; keys and values of a map take turns.
    links: Vec<u32>,
    root: u32,
}

#[derive(Debug)]
struct Node<'t> {
    spot: Spot,
    data: Data<'t>,
}

#[derive(Debug)]
enum Data<'t> {
    Scalar { text: Cow<'t, str>, plain: bool },
    List { from: u32, to: u32 },
    Map { from: u32, to: u32 },
    Lost,
}

/// A node of a tree.
#[derive(Clone, Copy)]
pub struct View<'a> {
    tree: &'a Tree<'a>,
    id: u32,
}

/// What a node is.
pub enum Seen<'a> {
    /// A text; `plain` when it is written without quotes.
    Scalar {
        /// The text, escapes resolved.
        text: &'a str,
        /// Whether it is unquoted.
        plain: bool,
    },
    /// A list.
    List(Items<'a>),
    /// Keys with their values, in the order of the file; each key is a scalar and stands there once.
    Map(Entries<'a>),
    /// Something that could not be read and is reported already.
    Lost,
}

/// The items of a list.
#[derive(Clone, Copy)]
pub struct Items<'a> {
    tree: &'a Tree<'a>,
    links: &'a [u32],
}

/// The entries of a map.
#[derive(Clone, Copy)]
pub struct Entries<'a>(Items<'a>);

impl<'t> Tree<'t> {
    /// An empty one with room for so many nodes.
    pub fn with_capacity(nodes: usize) -> Self {
        Self { nodes: Vec::with_capacity(nodes), links: Vec::with_capacity(nodes), root: 0 }
    }

    /// The outermost node.
    pub fn root(&self) -> View<'_> {
        View { tree: self, id: self.root }
    }

    /// How many nodes it has, repeated ones counted once.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn add_scalar(&mut self, spot: Spot, text: Cow<'t, str>, plain: bool) -> u32 {
        self.add(spot, Data::Scalar { text, plain })
    }

    /// Adds a place where something was that could not be read.
    pub(super) fn add_lost(&mut self, spot: Spot) -> u32 {
        self.add(spot, Data::Lost)
    }

    /// Adds a collection whose children follow later, see [`Tree::close`].
    pub(super) fn add_collection(&mut self, spot: Spot, map: bool) -> u32 {
        let data = if map { Data::Map { from: 0, to: 0 } } else { Data::List { from: 0, to: 0 } };
        self.add(spot, data)
    }

    fn add(&mut self, spot: Spot, data: Data<'t>) -> u32 {
        self.nodes.push(Node { spot, data });
        u32::try_from(self.nodes.len() - 1).unwrap_or(u32::MAX)
    }

    /// Gives a collection its children.
    pub(super) fn close(&mut self, id: u32, children: impl IntoIterator<Item = u32>) {
        let end = |links: &Vec<u32>| u32::try_from(links.len()).unwrap_or(u32::MAX);
        let start = end(&self.links);
        self.links.extend(children);
        let stop = end(&self.links);
        if let Data::List { from, to } | Data::Map { from, to } = &mut self.nodes[id as usize].data {
            (*from, *to) = (start, stop);
        }
    }

    pub(super) fn set_root(&mut self, id: u32) {
        self.root = id;
    }

    pub(super) fn spot(&self, id: u32) -> Spot {
        self.nodes[id as usize].spot
    }

    pub(super) fn text(&self, id: u32) -> Option<&str> {
        if let Data::Scalar { text, .. } = &self.nodes[id as usize].data { Some(text) } else { None }
    }
}

impl<'a> View<'a> {
    /// Where it stands; a collection in block style stands where its first entry does.
    pub fn spot(self) -> Spot {
        self.tree.spot(self.id)
    }

    /// What it is.
    pub fn see(self) -> Seen<'a> {
        let items = |from: u32, to: u32| Items { tree: self.tree, links: &self.tree.links[from as usize..to as usize] };
        match &self.tree.nodes[self.id as usize].data {
            Data::Scalar { text, plain } => Seen::Scalar { text, plain: *plain },
            Data::List { from, to } => Seen::List(items(*from, *to)),
            Data::Map { from, to } => Seen::Map(Entries(items(*from, *to))),
            Data::Lost => Seen::Lost,
        }
    }

    /// The text, when it is a scalar.
    pub fn text(self) -> Option<&'a str> {
        self.tree.text(self.id)
    }
}

impl<'a> Items<'a> {
    /// Each item in turn.
    pub fn iter(self) -> impl ExactSizeIterator<Item = View<'a>> {
        self.links.iter().map(move |id| View { tree: self.tree, id: *id })
    }
}

/// A key and where it stands.
#[derive(Clone, Copy)]
pub struct Key<'a> {
    /// The text.
    pub text: &'a str,
    /// Where it stands.
    pub spot: Spot,
}

impl<'a> Entries<'a> {
    /// Each key with its value.
    pub fn iter(self) -> impl ExactSizeIterator<Item = (Key<'a>, View<'a>)> {
        let tree = self.0.tree;
        self.0.links.chunks_exact(2).map(move |pair| {
            let key = Key { text: tree.text(pair[0]).unwrap_or_default(), spot: tree.spot(pair[0]) };
            (key, View { tree, id: pair[1] })
        })
    }

    /// The entry of that key.
    pub fn get(self, key: &str) -> Option<(Key<'a>, View<'a>)> {
        self.iter().find(|(k, _)| k.text == key)
    }
}
