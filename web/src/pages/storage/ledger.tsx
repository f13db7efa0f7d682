import type { JSX } from 'preact';
import { type LedgerStatus, type Tally, isZero } from '../../api/storage';
import { count } from '../../format';
import { Badge, Facts } from '../../ui/parts';

/** What is wrong, where something is. Too many are a number below zero, which arrives as one of 64 bits without a sign. */
function wrong({ samples }: Tally): string {
  if (samples === 0) return 'The counts agree, but the digests differ.';
  return samples < 2 ** 63 ? `${count(samples)} sample${samples === 1 ? ' is' : 's are'} nowhere.` : 'There are more samples than came into blocks.';
}

/** What became of all that left the log, and whether that adds up. */
export function LedgerWords(props: { ledger: LedgerStatus }): JSX.Element {
  const { ledger } = props;
  const came = ledger.flushed.samples + ledger.adopted.samples;
  const isBalanced = isZero(ledger.imbalance);
  return (
    <>
      <p class="row">
        {isBalanced ? <Badge state="good">balances, to the bit</Badge> : <Badge state="bad">does not balance</Badge>}
        <span class="quiet">
          {isBalanced
            ? 'Of what came into blocks, every sample is there or was taken away on purpose.'
            : `${wrong(ledger.imbalance)} Verify with --deep.`}
        </span>
      </p>
      <Facts
        rows={[
          ['Came into blocks', count(came)],
          ['· flushed from the head', count(ledger.flushed.samples)],
          ['· taken over with blocks', count(ledger.adopted.samples)],
          ['Are in blocks now', count(ledger.stored.samples)],
          ['Expired', count(ledger.expired.samples)],
          ['Deleted', count(ledger.deleted.samples)],
          ['Were there twice', count(ledger.deduplicated.samples)],
          ['Set aside', count(ledger.quarantined.samples)],
        ]}
      />
      <p class="quiet">
        {`The log gave up ${count(ledger.left_log_in_order.samples)} samples in order and ${count(ledger.left_log_out_of_order.samples)} late ones, of ${count(ledger.left_log_requests)} requests, each after its block was proven.`}
      </p>
    </>
  );
}
