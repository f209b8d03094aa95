package engine

// argo is a list for withParam: each element is an item with shard, arch and
// cells, as {{item.shard}}.
func argo(o Options) (any, error) { return o.jobs(), nil }
