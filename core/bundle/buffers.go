package bundle

// buffers keep compressed blocks to use again, in classes by size: a small block
// never holds on to the room of a large one, so that what is under way takes
// twice its own size at the most.
type buffers [len(bufferClasses)]chan []byte

// bufferClasses are the capacities of the classes and how many of each wait to
// be used: 14 MiB in all, most of what is under way. A block that does not compress comes out a little
// larger than it went in.
var bufferClasses = [...]struct{ bytes, kept int }{
	{4<<10 + bufferSlack, 256}, {16<<10 + bufferSlack, 128}, {64<<10 + bufferSlack, 48}, {256<<10 + bufferSlack, 12}, {blockBytes + bufferSlack, 8},
}

const bufferSlack = 1 << 10

func newBuffers() *buffers {
	var b buffers
	for i, class := range bufferClasses {
		b[i] = make(chan []byte, class.kept)
	}
	return &b
}

// take gives an empty buffer for a block of n bytes.
func (b *buffers) take(n int) []byte {
	for i, class := range bufferClasses {
		if n+bufferSlack > class.bytes {
			continue
		}
		select {
		case free := <-b[i]:
			return free[:0]
		default:
			return make([]byte, 0, class.bytes)
		}
	}
	return nil
}

// give takes a buffer back.
func (b *buffers) give(used []byte) {
	for i := len(bufferClasses) - 1; i >= 0; i-- {
		if cap(used) < bufferClasses[i].bytes {
			continue
		}
		select {
		case b[i] <- used:
		default:
		}
		return
	}
}
