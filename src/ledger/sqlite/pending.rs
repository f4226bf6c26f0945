//! The items of a run that wait for their turn, rack by rack: four bytes each, however many racks there are. Pure.

/// No position.
const NONE: u32 = u32::MAX;

/// A queue for each rack.
#[derive(Debug)]
pub(super) struct Pending {
    queues: Vec<Queue>,
    /// By position: the one behind it in its queue.
    next: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Queue {
    first: u32,
    last: u32,
}

impl Pending {
    pub(super) fn new(racks: usize) -> Self {
        Self { queues: vec![Queue { first: NONE, last: NONE }; racks], next: Vec::new() }
    }

    /// Puts an item at the end of its rack's queue.
    pub(super) fn push(&mut self, rack: u32, position: u32) {
        let queue = &mut self.queues[rack as usize];
        let place = position as usize;
        if self.next.len() <= place {
            self.next.resize(place + 1, NONE);
        }
        match queue.last {
            NONE => queue.first = position,
            last => self.next[last as usize] = position,
        }
        queue.last = position;
    }

    /// The first item of a rack, which waits no more.
    pub(super) fn take(&mut self, rack: u32) -> Option<u32> {
        let queue = &mut self.queues[rack as usize];
        let first = queue.first;
        if first == NONE {
            return None;
        }
        queue.first = self.next[first as usize];
        if queue.first == NONE {
            queue.last = NONE;
        }
        Some(first)
    }

    /// Those behind an item in its queue, also once that is taken itself.
    pub(super) fn behind(&self, position: u32) -> impl Iterator<Item = u32> {
        let next = |&position: &u32| self.next.get(position as usize).copied().filter(|next| *next != NONE);
        std::iter::successors(Some(position), next).skip(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rack_gives_its_items_in_the_order_in_which_they_came() {
        let mut pending = Pending::new(3);
        for (rack, position) in [(1, 7), (0, 0), (1, 2), (0, 5)] {
            pending.push(rack, position);
        }
        let mut all = |rack| std::iter::from_fn(|| pending.take(rack)).collect::<Vec<_>>();
        assert_eq!([all(0), all(1), all(2)], [vec![0, 5], vec![7, 2], vec![]]);
        let behind = |position| pending.behind(position).collect::<Vec<_>>();
        assert_eq!([behind(0), behind(7), behind(5)], [vec![5], vec![2], vec![]]);
    }
}
