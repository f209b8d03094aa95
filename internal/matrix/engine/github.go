package engine

// github is the value of a job's strategy.matrix, for fromJSON. A matrix of no
// job is an error there, so the workflow has to ask first.
func github(o Options) (any, error) {
	return struct {
		Include []Job `json:"include"`
	}{o.jobs()}, nil
}
