//! One contract for every storage driver: each case runs on the fake and on a directory, and, where the lab has them,
//! on other file systems.

mod behind;
mod cases;
mod clones;
mod crash;
mod images;
mod many;
mod mounted;
mod real_cifs;
mod real_file_systems;
mod real_iscsi;
mod real_lvm;
mod real_lvmthin;
mod real_nfs;
mod real_zfs;
mod snapshots;
mod subject;
mod uml;
mod watch;

use subject::Subject;

/// Makes the cases into tests, one a driver, and into a list.
macro_rules! contract {
    ($($module:ident: $($case:ident)+;)+) => {
        mod on_fake { $($(
            #[test]
            fn $case() { drop(super::play(super::Subject::fake(), super::$module::$case)); }
        )+)+ }

        mod on_dir { $($(
            #[test]
            fn $case() { drop(super::play(super::Subject::dir(None), super::$module::$case)); }
        )+)+ }

        /// Every case by name.
        pub const CASES: &[(&str, Play)] = &[
            $($((stringify!($case), |subject| play(subject, $module::$case)),)+)+
        ];
    };
}

/// Runs one case; says why it does not apply, where the driver declares that it lacks what the case is about.
type Play = fn(Subject) -> Option<String>;

/// Some of the cases by name.
type Cases = &'static [(&'static str, Play)];

/// Runs every case on a fresh subject each, says what was run, and gives the number of those that do not apply.
fn contract(server: &str, subject: impl Fn() -> Subject) -> usize {
    contract_of(CASES, server, subject)
}

/// The cases before this one are the first half of the contract by the time they take.
const HALF: &str = "snapshots_come_and_go";

/// The first and the second half of the contract, for servers that need minutes for either.
fn halves() -> (Cases, Cases) {
    CASES.split_at(CASES.iter().position(|(name, _)| *name == HALF).unwrap())
}

/// The same for some of the cases.
fn contract_of(cases: Cases, server: &str, subject: impl Fn() -> Subject) -> usize {
    let mut others = Vec::new();
    for (name, case) in cases {
        let begun = std::time::Instant::now();
        let why = case(subject());
        eprintln!("{server}: {name}: {:.2?}{}", begun.elapsed(), if why.is_some() { " (does not apply)" } else { "" });
        others.extend(why.map(|why| format!("{name}: {why}")));
    }
    let run = cases.len() - others.len();
    println!("{server}: {} cases, {run} run, {} do not apply: {others:#?}", cases.len(), others.len());
    others.len()
}

fn play<F: Future<Output = ()>>(subject: Subject, case: impl FnOnce(std::rc::Rc<Subject>) -> F) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let subject = std::rc::Rc::new(subject);
        subject.storage.activate().await.unwrap();
        let done = tokio::time::timeout(subject.patience, case(subject.clone())).await;
        assert!(done.is_ok(), "it did not end within {:?}", subject.patience);
        subject.inapplicable.take()
    })
}

contract! {
    cases:
        a_new_volume_is_what_was_asked_for
        making_it_again_counts_as_made
        another_owners_volume_is_not_taken
        a_volume_without_a_mark_is_not_taken
        another_size_is_not_taken_for_the_same
        another_format_is_not_taken_for_the_same
        content_that_the_manifest_does_not_allow_is_refused
        formats_that_a_content_cannot_have_are_refused
        sizes_that_no_disk_has_are_refused
        names_that_could_escape_are_refused
        odd_names_are_taken_as_they_are
        the_longest_name_works
        a_directory_volume_starts_empty
        what_is_not_there_is_not_found
        an_empty_storage_lists_nothing
        a_listing_shows_everything_with_its_mark
        a_listing_shows_foreign_volumes_without_a_mark
        before_activation_nothing_is_known
        activation_can_be_repeated_and_keeps_what_is_there
        growing_shows_the_new_size
        growing_to_the_same_size_changes_nothing
        shrinking_is_refused_and_changes_nothing
        growing_what_is_not_ours_is_refused
        growing_what_is_not_there_is_refused
        growing_to_a_size_that_no_disk_has_is_refused
        a_file_in_use_does_not_grow
        a_mark_can_be_replaced
        a_mark_of_another_owner_cannot_be_replaced
        a_foreign_volume_can_be_marked_when_it_has_no_mark
        what_is_not_there_cannot_be_marked
        a_large_mark_survives
        a_mark_with_odd_text_survives
        a_deleted_volume_is_gone
        deleting_what_is_not_there_succeeds
        another_owners_volume_is_not_deleted
        a_volume_without_a_mark_is_not_deleted
        a_volume_of_another_size_is_not_deleted
        a_volume_in_use_is_not_deleted
        a_volume_made_anew_is_not_the_one_that_was_there
        neighbours_are_not_touched
        a_name_is_free_again_after_a_delete
        an_attachment_leads_to_the_volume
        what_is_not_there_has_no_attachment
        usage_adds_up
        the_storages_own_mark_is_kept
        the_storages_own_mark_is_not_taken_from_another
        a_reopened_storage_knows_the_same
        cleaning_touches_no_volume
        nothing_is_left_over;
    snapshots:
        snapshots_come_and_go
        a_snapshot_keeps_what_was_there
        deleting_a_volume_in_use_keeps_its_snapshots
        a_second_snapshot_of_a_name_is_refused
        rolling_back_to_nothing_is_refused
        removing_a_snapshot_that_is_not_there_succeeds
        formats_without_snapshots_say_so
        snapshots_of_what_is_not_ours_are_refused
        snapshot_names_that_mislead_are_refused;
    images:
        an_image_that_is_not_there_is_refused
        an_image_that_is_too_large_is_refused
        an_image_that_leans_on_another_file_is_refused
        an_image_that_is_none_is_refused
        an_image_that_is_cut_off_is_refused
        a_refused_create_leaves_nothing
        bytes_arrive;
    clones:
        a_clone_starts_as_the_snapshot
        what_has_clones_stays
        a_clone_of_a_clone_stands
        a_clone_is_made_once
        a_clone_of_nothing_is_refused;
    many:
        a_thousand_volumes_are_listed_at_once
        many_are_made_at_the_same_time
        one_name_is_made_once
        of_two_owners_one_gets_the_name
        making_and_deleting_at_the_same_time_ends_well;
}
