//! What a person does about an alarm; docs/operating.md says it at length.

const TASKS = 'It is due and does not run, or keeps failing. Mostly it is the disk: mend that, and the task tries again within a minute.';

const ADVICE: Readonly<Record<string, string>> = {
  head: `The head holds more than it would if flushes ran. ${TASKS}`,
  lost: 'Samples are missing in answers: blocks are in quarantine or cannot be read. Put them back from a copy, or remove them from quarantine/ to give their samples up.',
  log: 'A start found damage that acknowledged samples were lost by. The damaged bytes are in quarantine/ with a note; remove them to close the matter, and check receipts with chronolith verify.',
  blocks: 'A check found damage in a block that is served. Put the block back from a copy, or read it again on the page Storage.',
  compaction: 'A compaction was refused or has no room. GET api/v1/storage/compactions has the reason.',
  retention: 'What cannot be removed alone exceeds retention.size: flush, or raise it.',
  verify: 'The last proof of the log found something wrong. The page Verify has the findings; then run chronolith verify.',
};

export function adviceOn(about: string): string {
  return ADVICE[about] ?? TASKS;
}
