//! What proofs find, over the API: it stays until a later proof of the same thing closes it.

use std::path::PathBuf;

use super::*;

/// Turns one byte of a file around, and gives what stood in it.
fn flip(fs: &SimFs, path: &Path, at: usize) -> Vec<u8> {
    let good = fs.read(path).unwrap();
    let mut bad = good.clone();
    bad[at] ^= 0x40;
    fs.set_content(path, bad);
    good
}

fn open(server: &Server) -> Value {
    server.get("/api/v1/status/verify")["open_findings"].clone()
}

fn restarted(server: Server) -> Server {
    server.db().close();
    start(server.fs.clone(), server.clock.clone(), true, true)
}

#[test]
fn damage_of_a_block_stays_open_over_a_restart_until_a_check_of_that_block_finds_it_well() {
    let server = new(true);
    server.fill(0..240);
    server.post("/api/v1/admin/storage/flush");
    let ulid = server.get("/api/v1/storage/blocks")["blocks"][0]["ulid"].as_str().unwrap().to_owned();
    let chunks: PathBuf = Path::new("/data").join(&ulid).join("chunks/000001");
    let good = flip(&server.fs, &chunks, 20);
    let server = restarted(server);
    assert_eq!(open(&server), json!([]), "nobody has looked yet");
    let found_at = server.clock.now_ms();
    assert_eq!(server.post("/api/v1/admin/storage/verify")["good"], false);
    let found = open(&server);
    assert_eq!((found.as_array().unwrap().len(), &found[0]["object"]["name"]), (1, &json!(ulid)), "{found}");
    assert_eq!(found[0]["findings"][0]["first_seen"], json!(super::super::rfc3339(found_at)));
    assert_eq!(server.get("/api/v1/status/verify")["block_runs"][0]["damaged"], 1);

    server.clock.advance(Duration::from_secs(60));
    let server = restarted(server);
    assert_eq!(open(&server), found);
    assert!(server.health().1["alarms"].to_string().contains(&ulid), "{}", server.health().1);
    let other = server.get("/api/v1/storage/blocks")["blocks"][1]["ulid"].as_str().unwrap().to_owned();
    server.post(&format!("/api/v1/storage/blocks/{other}/verify"));
    server.post("/api/v1/admin/storage/verify?scope=log");
    assert_eq!(open(&server), found, "neither covers the block");

    server.fs.set_content(&chunks, good);
    let server = restarted(server);
    assert_eq!(open(&server), found, "nobody has looked again yet");
    assert_eq!(server.post(&format!("/api/v1/storage/blocks/{ulid}/verify"))["good"], true);
    let proofs = server.get("/api/v1/status/verify");
    assert_eq!((&proofs["open_findings"], &proofs["closed_findings"][0]["closed_by"]), (&json!([]), &json!("proof")));
    assert_eq!(server.health().1["status"], "ok");
    assert_eq!(open(&restarted(server)), json!([]));
}

/// Lets a minute pass, and maintenance with it.
fn minute_later(server: &Server) {
    server.clock.advance(Duration::from_secs(61));
    server.db().run_due();
}

#[test]
fn damage_of_a_chunk_that_a_query_met_is_named_within_a_minute_until_a_check_finds_the_block_well() {
    let server = new(true);
    server.fill(0..240);
    server.post("/api/v1/admin/storage/flush");
    let ulid = server.get("/api/v1/storage/blocks")["blocks"][0]["ulid"].as_str().unwrap().to_owned();
    let chunks: PathBuf = Path::new("/data").join(&ulid).join("chunks/000001");
    let good = flip(&server.fs, &chunks, 20);
    let server = restarted(server);
    minute_later(&server);
    assert_eq!(
        (open(&server), server.health().1["status"].clone()),
        (json!([]), json!("ok")),
        "nobody has read it yet"
    );
    let answer = server.query(0, 240);
    assert!(answer["warnings"][0].as_str().is_some_and(|warning| warning.contains(&ulid)), "{answer}");
    minute_later(&server);
    let found = open(&server);
    assert_eq!((found.as_array().unwrap().len(), &found[0]["object"]["name"]), (1, &json!(ulid)), "{found}");
    let health = server.health().1;
    assert!(health["status"] != "ok" && health["alarms"].to_string().contains(&ulid), "{health}");
    assert_eq!(server.db().storage_status().damaged, 1);

    server.fs.set_content(&chunks, good);
    let server = restarted(server);
    assert_eq!(open(&server), found, "nobody has looked again yet");
    assert_eq!(server.post(&format!("/api/v1/storage/blocks/{ulid}/verify"))["good"], true);
    minute_later(&server);
    assert_eq!((open(&server), server.health().1["status"].clone()), (json!([]), json!("ok")));
}

#[test]
fn block_whose_tombstones_are_gone_is_named_by_the_start() {
    let server = new(true);
    server.fill(0..240);
    server.post("/api/v1/admin/storage/flush");
    let ulid = server.get("/api/v1/storage/blocks")["blocks"][0]["ulid"].as_str().unwrap().to_owned();
    let (from, to) = (START / 1000, START / 1000 + 600);
    let delete = format!("/api/v1/admin/tsdb/delete_series?match[]=up&start={from}&end={to}");
    assert_eq!(server.ask(Method::POST, &delete, None).0, 204);
    server.fs.remove_file(&Path::new("/data").join(&ulid).join("tombstones")).unwrap();
    let server = restarted(server);
    let found = open(&server);
    assert_eq!(found[0]["object"]["name"], json!(ulid), "{found}");
    assert!(server.health().1["alarms"].to_string().contains(&ulid), "{}", server.health().1);
}

#[test]
fn damage_of_a_segment_is_named_with_it_and_closed_by_the_next_proof_of_a_log_that_is_well() {
    let server = new(true);
    server.fill(0..2000);
    let segments = server.get("/api/v1/storage/wal")["segments"].clone();
    let states: Vec<&str> = segments.as_array().unwrap().iter().map(|one| one["state"].as_str().unwrap()).collect();
    assert_eq!(states.last(), Some(&"open"), "{segments}");
    assert!(states.len() > 1 && states[0] == "finished", "{segments}");
    server.post("/api/v1/admin/storage/verify?scope=log");
    let coverage = server.get("/api/v1/status/verify")["log_coverage"].clone();
    assert_eq!(coverage["segments"].as_array().unwrap().len(), states.len());
    // A writer that falls idle adds a group of its own.
    assert!(coverage["group"].as_u64().is_some_and(|group| group >= 2000), "{coverage}");
    assert!(server.get("/api/v1/storage/wal")["segments"][0]["groups"].is_array());

    let good = flip(&server.fs, Path::new("/data/wal/00000000"), 5000);
    assert_eq!(server.post("/api/v1/admin/storage/verify?scope=log")["good"], false);
    let found = open(&server);
    let named: Vec<(&str, &str)> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["object"]["kind"].as_str().unwrap(), one["object"]["name"].as_str().unwrap()))
        .collect();
    assert_eq!(named, [("head", ""), ("segment", "00000000")], "{found}");
    server.fs.set_content(Path::new("/data/wal/00000000"), good);
    assert_eq!(server.post("/api/v1/admin/storage/verify?scope=log")["good"], true);
    assert_eq!(open(&server), json!([]));
}

#[test]
fn block_that_was_damaged_and_is_removed_closes_what_was_found_in_it() {
    let server = new(true);
    server.fill(0..240);
    server.post("/api/v1/admin/storage/flush");
    let ulid = server.get("/api/v1/storage/blocks")["blocks"][0]["ulid"].as_str().unwrap().to_owned();
    flip(&server.fs, &Path::new("/data").join(&ulid).join("chunks/000001"), 20);
    let server = restarted(server);
    server.post("/api/v1/admin/storage/verify?scope=blocks");
    assert_eq!(open(&server).as_array().unwrap().len(), 1);
    server.fs.remove_dir_all(&Path::new("/data").join(&ulid)).unwrap();
    server.clock.advance(Duration::from_secs(61));
    server.db().run_due();
    let proofs = server.get("/api/v1/status/verify");
    assert_eq!((&proofs["open_findings"], &proofs["closed_findings"][0]["closed_by"]), (&json!([]), &json!("removal")));
}

#[test]
fn end_of_a_check_that_is_not_under_way_changes_nothing() {
    let server = new(true);
    assert_eq!(server.post("/api/v1/admin/storage/verify/stop")["stopped"], 0);
    assert_eq!(server.get("/api/v1/status/verify")["blocks_under_way"], json!([]));
    let status = server.get("/api/v1/storage/status");
    assert_eq!(status["retention"], json!({"time_seconds": null, "size_bytes": null, "next": null}));
}
