//! A plan as the server lists it, as a tree.

export interface PlanNode {
  readonly depth: number;
  readonly text: string;
  /** Only where the query was run for it. */
  readonly elapsed_seconds?: number;
  readonly series?: number;
  readonly samples_read?: number;
}

export interface Branch {
  readonly node: PlanNode;
  readonly children: Branch[];
}

/** Each node below the newest one before it that is less deep. */
export function treeOf(nodes: readonly PlanNode[]): Branch[] {
  const roots: Branch[] = [];
  const path: Branch[] = [];
  for (const node of nodes) {
    const branch = { node, children: [] };
    while ((path.at(-1)?.node.depth ?? -1) >= node.depth) path.pop();
    (path.at(-1)?.children ?? roots).push(branch);
    path.push(branch);
  }
  return roots;
}
