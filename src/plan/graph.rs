//! Puts things in the order of what they need, and finds rings of things that need each other.

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

/// An order, and the rings that have none.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sorted {
    /// Every thing after those it needs, as far as there is no ring.
    pub order: Vec<usize>,
    /// One ring for each knot of things that need each other: each needs the next, the last the first.
    pub rings: Vec<Vec<usize>>,
}

/// Sorts `count` things, given as pairs of one and another that it needs; linear.
pub fn sort(count: usize, needs: &[(usize, usize)]) -> Sorted {
    let mut graph: DiGraph<(), ()> = DiGraph::with_capacity(count, needs.len());
    for _ in 0..count {
        graph.add_node(());
    }
    // The search goes through nodes from the last and through edges from the newest; adding both backwards makes the
    // order follow the numbers wherever needs leave it free.
    let at = |thing: usize| NodeIndex::new(count - 1 - thing);
    for (one, other) in needs.iter().rev() {
        graph.add_edge(at(*one), at(*other), ());
    }
    let mut sorted = Sorted { order: Vec::with_capacity(count), rings: Vec::new() };
    for knot in kosaraju_scc(&graph) {
        let mut things: Vec<usize> = knot.iter().map(|node| count - 1 - node.index()).collect();
        things.sort_unstable();
        if let Some(first) = things.first()
            && (things.len() > 1 || graph.contains_edge(at(*first), at(*first)))
        {
            sorted.rings.push(ring(&graph, &things, &at));
        }
        sorted.order.extend(things);
    }
    sorted.rings.sort();
    sorted
}

/// The shortest way from the first thing of a knot back to itself.
fn ring(graph: &DiGraph<(), ()>, knot: &[usize], at: &impl Fn(usize) -> NodeIndex) -> Vec<usize> {
    let thing = |node: NodeIndex| graph.node_count() - 1 - node.index();
    let Some(start) = knot.first().copied() else { return Vec::new() };
    let mut came_from = std::collections::BTreeMap::new();
    let mut queue = std::collections::VecDeque::from([start]);
    while let Some(here) = queue.pop_front() {
        let mut next: Vec<usize> = graph.neighbors(at(here)).map(thing).collect();
        next.sort_unstable();
        for next in next.into_iter().filter(|n| knot.binary_search(n).is_ok()) {
            if next == start {
                let mut way = vec![here];
                while let Some(before) = way.last().and_then(|last| came_from.get(last)) {
                    way.push(*before);
                }
                way.reverse();
                return way;
            }
            came_from.entry(next).or_insert_with(|| {
                queue.push_back(next);
                here
            });
        }
    }
    vec![start]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_come_after_what_they_need() {
        let sorted = sort(4, &[(0, 3), (1, 0), (3, 2)]);
        assert_eq!(sorted.order, [2, 3, 0, 1]);
        assert!(sorted.rings.is_empty());
        assert_eq!(sort(3, &[]).order, [0, 1, 2]);
        assert_eq!(sort(0, &[]), Sorted::default());
    }

    #[test]
    fn each_knot_gives_its_shortest_ring() {
        let sorted = sort(7, &[(0, 1), (1, 2), (2, 0), (2, 3), (3, 0), (4, 4), (5, 6)]);
        assert_eq!(sorted.rings, [vec![0, 1, 2], vec![4]]);
        assert_eq!(sorted.order.len(), 7);
    }

    #[test]
    fn a_long_chain_does_not_overflow_the_stack() {
        let needs: Vec<(usize, usize)> = (1..100_000).map(|n| (n - 1, n)).collect();
        let sorted = sort(100_000, &needs);
        assert_eq!(sorted.order.first(), Some(&99_999));
        let ring: Vec<(usize, usize)> = (0..100_000).map(|n| (n, (n + 1) % 100_000)).collect();
        assert_eq!(sort(100_000, &ring).rings[0].len(), 100_000);
    }
}
